"""Boards: machines as data, and what software finds on them."""

import itertools
from pathlib import Path

import pytest

from ffabric.firmware.state.events import Group0
from ffabric.session.system import System
from ffabric.system.booting.boot import boot
from ffabric.system.description.board import FOLDER, names
from ffabric.system.description.toml.system import read_system
from ffabric.system.options.problems import SystemErrors

KERNEL_FILE = Path(__file__).parents[2] / "images" / "board_kernel.bin"
KERNEL = KERNEL_FILE.read_bytes()
RESULTS = 0x1000
"""Where the kernel keeps what it has found, above its load address: x0 to x3, then words."""
SPMC = """/dts-v1/;
/ {
    compatible = "arm,ffa-core-manifest-1.0";
    #address-cells = <2>;
    #size-cells = <2>;
    attribute { spmc_id = <0x8000>; maj_ver = <1>; min_ver = <1>; exec_state = <0>;
                load_address = <0 0x6000000>; entrypoint = <0 0x6000000>;
                binary_size = <0x80000>; };
    hypervisor { compatible = "hafnium,hafnium"; };
    cpus { #address-cells = <2>; #size-cells = <0>; cpu@0 { device_type = "cpu"; reg = <0 0>; }; };
    memory@6000000 { device_type = "memory"; reg = <0 0x6000000 0 0x2000000>; };
    memory@80000000 { device_type = "ns-memory"; reg = <0 0x80000000 0 0x1000000>; };
};
"""


@pytest.fixture
def read(tmp_path):
    """Reads a system file."""

    def reader(text):
        (tmp_path / "kernel.bin").write_bytes(KERNEL)
        (tmp_path / "spmc.dts").write_text(SPMC)
        (tmp_path / "s.toml").write_text(text)
        return read_system(tmp_path / "s.toml")

    return reader


BL33 = """
hypervisor = false
[[vm]]
name = "bl33"
image = "kernel.bin"
physical_address = {base:#x}
load_address = {base:#x}
mem_size = "64 KiB"
el = 2
x0 = 0x1111222233334444
x1 = 0x82000000
"""


def test_two_boards_come_with_ffabric():
    assert names() == ["fvp-base", "qemu-sbsa"]


@pytest.mark.parametrize("name", names())
def test_a_board_of_its_own_is_a_valid_machine(read, name):
    spec = read(
        f'board = "{name}"\n[[vm]]\nname = "v"\npython = "ffabric:Partition"\n'
        "load_address = 0x80000000"
    )
    ranges = sorted((bank.base, bank.end) for bank in spec.memory)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    boot(spec).run()


@pytest.mark.parametrize(
    ("board", "base", "uart", "power"),
    [
        ("fvp-base", 0x8800_0000, 0x1C09_0000, 0x1C10_0010),
        ("qemu-sbsa", 0x100_2000_0000, 0x6000_0000, 0x6001_0010),
    ],
)
def test_bl33_finds_its_registers_its_uart_and_what_reads_as_written(
    read, board, base, uart, power
):
    spec = read(
        f'board = "{board}"\n' + BL33.format(base=base) + f"x2 = {uart:#x}\nx3 = {power:#x}\n"
    )
    system = boot(spec)
    system.run()
    memory = system.machine.memory
    found = [memory.read64(base + RESULTS + 8 * n, secure=False) for n in range(5)]
    assert found == [0x1111_2222_3333_4444, 0x8200_0000, uart, power, 0xCAFE]


def test_flash_begins_with_a_file(read, tmp_path):
    (tmp_path / "fip.bin").write_bytes(b"contents")
    flash = (
        '[[memory]]\nname = "flash0"\nbase = 0x08000000\nsize = "64 MiB"\n'
        'secure = true\nfile = "fip.bin"\n'
    )
    spec = read('board = "fvp-base"\n' + flash)
    assert boot(spec).machine.memory.read(0x0800_0000, 8, secure=True) == b"contents"
    (tmp_path / "fip.bin").write_bytes(bytes(0x2000))
    with pytest.raises(SystemErrors, match=r"flash0: file: fip\.bin: its 0x2000 bytes are more"):
        read(flash.replace('"64 MiB"', "0x1000"))


def test_tables_are_clean_where_a_file_was(read, tmp_path):
    """Translation tables may be where a bank began with something: they begin with nothing."""
    (tmp_path / "noise.bin").write_bytes(b"\xff" * (64 << 20))
    banks = "".join(
        f'[[memory]]\nname = "{name}"\nbase = {base:#x}\nsize = "64 MiB"\nsecure = {secure}\n'
        'file = "noise.bin"\n'
        for name, base, secure in (("s", 0x1000_0000, "true"), ("n", 0x8000_0000, "false"))
    )
    software = 'python = "ffabric.lab.bench.software:Echo"'
    spec = read(f'{banks}[[sp]]\nname = "sp"\n{software}\n[[vm]]\nname = "vm"\n{software}\n')
    with boot(spec) as system:
        for name in ("sp", "vm"):
            placed, stage2 = spec.partition(name), system.endpoints[name].partition.stage2
            size = sum(piece.size for piece in placed.memory)
            assert stage2.translate(placed.load_address)
            assert not stage2.translate(placed.load_address + size)


def banks(spec):
    """(base, size, secure) of each bank."""
    return [(bank.base, bank.size, bank.secure) for bank in spec.memory]


def test_a_bank_is_added_to_the_map_of_the_spmc_manifest(read):
    spmc = '[spmc]\nmanifest = "spmc.dts"\n'
    assert banks(read(spmc)) == [(0x600_0000, 0x200_0000, True), (0x8000_0000, 0x100_0000, False)]
    more = '[[memory]]\nname = "DRAM2"\nbase = 0x880000000\nsize = "16 MiB"\n'
    assert (0x8_8000_0000, 0x100_0000, False) in banks(read(spmc + more))
    assert len(banks(read(spmc + more))) == 3


def test_a_bank_takes_the_place_of_what_it_overlaps(read):
    spmc = '[spmc]\nmanifest = "spmc.dts"\n'
    other = '[[memory]]\nname = "DRAM1"\nbase = 0x80000000\nsize = "64 MiB"\n'
    assert banks(read(spmc + other)) == [
        (0x600_0000, 0x200_0000, True),
        (0x8000_0000, 0x400_0000, False),
    ]
    on_board = read('board = "fvp-base"\n' + spmc)
    assert (0x8000_0000, 0x100_0000, False) in banks(on_board)  # the manifest's, not the board's
    assert (0x8_8000_0000, 2 << 30, False) in banks(on_board)
    with pytest.raises(SystemErrors, match="lies in DRAM1"):
        read(other + other.replace("DRAM1", "again"))


def test_a_device_takes_the_place_of_one_of_the_same_name(read):
    spec = read(
        'board = "fvp-base"\n[[device]]\nname = "uart0"\ntype = "pl011"\nbase = 0x1d000000\n'
    )
    assert [each.base for each in spec.devices if each.name == "uart0"] == [0x1D00_0000]


def test_a_board_is_a_file_beside_the_system(read, tmp_path):
    (tmp_path / "mine.toml").write_text(
        "mpidrs = [0, 1]\n" + (FOLDER / "fvp-base.toml").read_text()
    )
    spec = read('board = "mine.toml"\n')
    assert spec.mpidrs == (0, 1)
    assert read('board = "mine.toml"\nmpidrs = [0, 0x100]\n').mpidrs == (0, 0x100)


@pytest.mark.parametrize(
    ("board", "message"),
    [
        ("fvp-bas", "'fvp-bas' is not one of fvp-base, qemu-sbsa.*did you mean 'fvp-base'"),
        ("other.toml", "other.toml: No such file"),
        ("bad.toml", "bad.toml: .*"),
        ("sp.toml", "sp.toml: sp: no board has it"),
    ],
)
def test_what_is_no_board_is_a_line(read, tmp_path, board, message):
    (tmp_path / "bad.toml").write_text("[[")
    (tmp_path / "sp.toml").write_text('[[sp]]\nname = "a"\n')
    with pytest.raises(SystemErrors, match=message):
        read(f'board = "{board}"\n')


MINE = """
mpidrs = [0x0, 0x1]
[gic]
distributor = 0x6000000000
redistributors = 0x6000100000
[[memory]]
name = "tzc"
base = 0x8f0000000
size = "64 MiB"
secure = true
[[memory]]
name = "dram"
base = 0x8000000000
size = "64 MiB"
[[memory]]
name = "nor"
base = 0x10000000
size = "64 KiB"
reserved = true
file = "nor.bin"
[[device]]
name = "console"
type = "pl011"
base = 0x7000000000
interrupt = 4100
[[device]]
name = "watchdog"
type = "generic_watchdog"
base = 0x7000010000
interrupt = 90
world = "secure"
[[device]]
type = "stub"
base = 0x7000100000
world = "both"
[monitor]
group0 = [90]
[monitor.calls]
0x82000010 = 1
0xc2000011 = "sip.py:number"
"""
"""A machine that is nobody's: DRAM and GIC above 4 GiB, an extended SPI, another watchdog."""


@pytest.fixture
def mine(read, tmp_path):
    """Reads a system on a board of its own, whose files are in a folder of its own."""
    folder = tmp_path / "boards"
    folder.mkdir()
    (folder / "mine.toml").write_text(MINE)
    (folder / "nor.bin").write_bytes(b"flash")
    (folder / "sip.py").write_text("def number(x):\n    return [0, x[1] + 1]\n")

    def reader(text, board=MINE):
        (folder / "mine.toml").write_text(board)
        return read('board = "boards/mine.toml"\n' + text)

    return reader


CALLER = """
from ffabric import Partition

class Caller(Partition):
    async def main(self, ffa):
        self.answers = [(await ffa.call(f, 41))[:2] for f in (0x82000010, 0xc2000011, 0x82000012)]
        self.answers.append((await ffa.direct_request("servant", 0)).payload[0])
        await ffa.idle()
"""


def test_partitions_in_python_and_images_run_on_a_board_of_ones_own(mine, tmp_path):
    (tmp_path / "caller.py").write_text(CALLER)
    spec = mine(
        '[monitor.calls]\n0x82000012 = 3\n[[sp]]\nname = "servant"\nvcpus = 2\n'
        f'image = "{KERNEL_FILE.with_name("servant.bin")}"\n'
        '[[vm]]\nname = "caller"\npython = "caller.py:Caller"\n'
    )
    with boot(spec) as system:
        system.run()
        assert system.endpoint("caller").software.answers == [(1, 41), (0, 42), (3, 41), 0]
        assert system.machine.memory.read(0x1000_0000, 5, secure=False) == b"flash"
    assert spec.sps[0].load_address == 0x8_F000_0000
    assert 0x80_0000_0000 <= spec.vms[0].memory[0].pa < 0x80_0400_0000


def test_a_kernel_runs_on_a_board_of_ones_own(mine):
    base, uart, stub = 0x80_0000_0000, 0x70_0000_0000, 0x70_0010_0010
    spec = mine(BL33.format(base=base) + f"x2 = {uart:#x}\nx3 = {stub:#x}\n")
    with boot(spec) as system:
        system.run()
        memory = system.machine.memory
        found = [memory.read64(base + RESULTS + 8 * n, secure=False) for n in range(5)]
    assert found == [0x1111_2222_3333_4444, 0x8200_0000, uart, stub, 0xCAFE]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ('size = "64 MiB"', "size = 0x800", "[[memory]] tzc: size: 0x800 is not a multiple of"),
        ('size = "64 MiB"', "size = 0", "[[memory]] tzc: size: 0x0 bytes are not whole pages"),
        ("base = 0x8f0000000", "", "[[memory]] tzc: base: missing"),
        ("secure = true", "secre = true", "[[memory]] tzc: secre: unknown key (did you mean"),
        ("0x8f0000000", "0x8001000000", "[[memory]] tzc: base: 0x8001000000 lies in dram, which"),
        ("0x7000000000", "0x8000000000", "[[device]] console: base: 0x8000000000 overlaps the mem"),
        ("[[memory]]\nname = \"nor\"", "[memory]", "Cannot declare ('memory',) twice"),
        ("4100", "1020", "[[device]] console: interrupt: 1020 is no SPI: they are 32 to 1019"),
        ("0x6000100000", "0x6000000000", "[gic]: redistributors: 0x6000000000 overlaps the GIC's"),
        ("distributor =", "distributer =", "[gic]: distributer: unknown key (did you mean 'distr"),
        ("[gic]", "[gci]", "gci: no board has it: only cpu, cpu_features, device, gic, memory,"),
        ("0x1]", "0x0]", "mpidrs: two of them are the same"),
        ("[90]", "[1020]", "[monitor]: group0: 1020 is not an interrupt: SGIs and PPIs are 0 to"),
        ('"nor.bin"', '"no.bin"', "[[memory]] nor: file: no such file: "),
        ("sip.py:number", "sip.py:numbr", "[monitor.calls]: 0xc2000011: sip.py has no 'numbr'"),
        ("sip.py:number", "sip.py:__name__", "[monitor.calls]: 0xc2000011: str is not a function"),
        ("0xc2000011", "0x84000060", "[monitor.calls]: 0x84000060: EL3 answers it: it is of FF-A"),
        ("0xc2000011", "2181038096", "2181038096: 0x82000010 has an answer already"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_board_is_one_line_that_names_its_file(mine, tmp_path, old, new, line):
    """The SP that would then have no room, or the device in memory that is none, is not told."""
    software = '[[sp]]\nname = "s"\npython = "ffabric:Partition"\nload_address = 0x8f0000000\n'
    assert mine(software).sps[0].load_address == 0x8_F000_0000
    with pytest.raises(SystemErrors) as caught:
        mine(software, MINE.replace(old, new, 1))
    (told,) = str(caught.value).splitlines()
    assert told.startswith(f"{tmp_path / 'boards' / 'mine.toml'}:")
    assert line in told


def test_what_stands_in_the_system_is_told_of_the_system(mine, tmp_path):
    for text, line in (
        ("[gic]\ndistributor = 1\n", "[gic]: distributor: 0x1 is not a multiple of 0x10000"),
        ('[[memory]]\nname = "tzc"\nbase = 1\nsize = 4096\n', "[[memory]] tzc: base: 0x1 is not"),
        ("[monitor.calls]\n0xc2000011 = []\n", "[monitor.calls]: 0xc2000011: 0 registers: 1 to"),
        ("mpidrs = [1, 1]\n", "mpidrs: two of them are the same"),
    ):
        with pytest.raises(SystemErrors) as caught:
            mine(text)
        (told,) = caught.value.problems[-1:]
        assert str(told).startswith(f"{tmp_path / 's.toml'}: {line}")


def test_a_board_without_secure_memory_is_told_once(mine):
    with pytest.raises(SystemErrors) as caught:
        mine(
            '[[sp]]\nname = "s"\npython = "ffabric:Partition"\n',
            MINE.replace("secure = true", "", 1),
        )
    (told,) = str(caught.value).splitlines()
    assert told.endswith(": memory: no secure memory: no [[memory]] has secure = true")


def test_devices_without_a_name_have_that_of_their_type(mine):
    stub = '[[device]]\ntype = "stub"\nbase = 0x7000200000\n'
    assert [each.base for each in mine(stub).devices if each.type == "stub"] == [0x70_0020_0000]
    pl011 = stub.replace("stub", "pl011")
    assert {each.name for each in mine(pl011).devices} == {"pl011", "console", "watchdog", "stub"}


WATCHED = """
board = "fvp-base"
[monitor]
group0 = [56, 72]
[[vm]]
name = "v"
python = "{path}:Worker"
[[sp]]
name = "s"
python = "{path}:Server"
"""
SOFTWARE = """
from ffabric import Partition

class Server(Partition):
    async def on_direct_request(self, request, ffa):
        for _ in range(200):
            await ffa.features(0x84000063)
        return request.respond(1)

class Worker(Partition):
    async def main(self, ffa):
        self.answers = [(await ffa.direct_request("s")).payload[0] for _ in range(3)]
        await ffa.idle()
"""


@pytest.fixture
def watched(read, tmp_path):
    """A system with EL3's own interrupts, booted; its trusted watchdog runs."""
    (tmp_path / "software.py").write_text(SOFTWARE)
    return boot(read(WATCHED.format(path="software.py")))


def start_watchdog(system, ticks):
    """Program the trusted watchdog, as EL3 does at boot."""
    bus = system.machine.bus
    for offset, value in ((0xC00, 0x1ACC_E551), (0x000, ticks), (0x008, 3)):
        bus.write(0x2A49_0000 + offset, 4, value, secure=True)


def test_el3_refreshes_its_watchdog_and_nobody_notices(watched):
    heard = []
    start_watchdog(watched, 2)

    class Tracer:
        def record(self, event):
            if isinstance(event, Group0):
                heard.append(event.intid)

    watched.attach(Tracer())
    watched.machine.end_at(5_000_000, watched.machine.stop)
    watched.run()
    assert set(heard) == {56}
    assert len(heard) > 3
    assert watched.endpoint("v").software.answers == [1, 1, 1]
    assert watched.stop_reason == ""


def test_an_edge_of_group_0_is_taken_in_either_world(watched):
    watched.machine.gic.set_pending(72)
    watched.run()
    assert watched.machine.gic.state(72).value == (False, False)
    assert watched.endpoint("v").software.answers == [1, 1, 1]


def test_el3_panics_at_a_line_that_stays_high(watched):
    watched.machine.gic.set_level(72, True)
    System(watched).run()
    assert "Group 0 interrupt 72 is not handled" in watched.firmware.monitor.power_state
