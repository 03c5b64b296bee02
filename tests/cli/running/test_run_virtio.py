"""[[virtio]] tables: what a system's file says is what a VM finds, and every mistake is a line."""

import textwrap

import pytest

PROGRAM = """
from ffabric.virtio import Device, DriverSide, drivers

class Guest(DriverSide):
    async def work(self, bus):
        for number in sorted(bus.devices):
            device = bus.devices[number]
            kind = await device.identify()
            await self.ffa.console_log(f"{number}: {kind}\\n")
        await self.use(bus)

    async def main(self, ffa):
        self.ffa = ffa
        await super().main(ffa)

    async def use(self, bus):
        pass

class Writer(Guest):
    async def use(self, bus):
        disk = await drivers.BlockDriver.probe(bus.devices[0])
        before = (await disk.read(0))[:6]
        await disk.write(0, b"AFTER!".ljust(512, b"."))
        await self.ffa.console_log(f"{disk.capacity} sectors, {before}, {await disk.serial()}\\n")

class Talker(Guest):
    async def use(self, bus):
        console = await drivers.ConsoleDriver.probe(bus.devices[0])
        await console.write(b"first\\r\\nsec")
        await console.write(b"ond\\nrest")
        gpio = await drivers.GpioDriver.probe(bus.devices[1])
        await gpio.set_output(1, 1)
        files = await drivers.FsDriver.probe(bus.devices[2])
        await self.ffa.console_log(f"{files.tag}: {await files.list()}\\n")
        sockets = await drivers.VsockDriver.probe(bus.devices[3])
        socket = await sockets.connect(7)
        await socket.write(b"echo")
        chip = await drivers.I2cDriver.probe(bus.devices[4])
        await chip.write(0x50, b"\\0i2c")
        said = await socket.read_all(4), await chip.transfer([(0x50, b"\\0"), (0x50, 3)])
        await self.ffa.console_log(f"{said} as {sockets.cid}\\n")

class Mine(Device):
    id = 63

    def __init__(self, text):
        super().__init__()
        self.config_text = text

    @property
    def config(self):
        return self.config_text.encode()

class Reader(Guest):
    async def use(self, bus):
        await self.ffa.console_log(f"{await bus.devices[0].read_config(0, 4)}\\n")
"""


@pytest.fixture
def run(tmp_path, ffabric_command):
    (tmp_path / "guests.py").write_text(PROGRAM)

    def start(text, guest="Guest"):
        vm = f'[[vm]]\nname = "guest"\npython = "guests.py:{guest}"\n'
        (tmp_path / "system.toml").write_text(vm + textwrap.dedent(text))
        status, out, errors = ffabric_command("run", tmp_path / "system.toml")
        return status, out + errors

    return start


EACH = """
    [[virtio]]
    type = "block"
    size = "1 MiB"
    [[virtio]]
    type = "network"
    network = "lan"
    [[virtio]]
    type = "network"
    network = "lan"
    mac = "02:00:00:00:00:07"
    [[virtio]]
    type = "console"
    [[virtio]]
    type = "rng"
    seed = 5
    [[virtio]]
    type = "vsock"
    [[virtio]]
    type = "i2c"
    targets = [0x50, 0x68]
    [[virtio]]
    type = "gpio"
    lines = ["a", ""]
    [[virtio]]
    type = "fs"
"""


def test_a_device_of_each_type_in_a_partition_that_nobody_has_described(run):
    status, text = run(EACH)
    assert status == 0
    lines = [line for line in text.splitlines() if line.startswith("guest: ")]
    assert [int(line.split()[-1]) for line in lines] == [2, 1, 1, 3, 4, 19, 34, 41, 26]
    assert "  devices " in text


@pytest.mark.parametrize(
    ("more", "before", "after"),
    [("", b"BEFORE", b"BEFORE"), ("write_back = true", b"BEFORE", b"AFTER!")],
)
def test_what_is_written_reaches_the_image_if_that_is_said(run, tmp_path, more, before, after):
    (tmp_path / "disk.img").write_bytes(before.ljust(1024))
    status, text = run(
        f"""
        [[virtio]]
        type = "block"
        image = "disk.img"
        size = 2048
        serial = "S1"
        {more}
        """,
        "Writer",
    )
    assert status == 0
    assert "4 sectors, b'BEFORE', S1" in text
    data = (tmp_path / "disk.img").read_bytes()
    assert (data[:6], len(data)) == (after, 2048 if more else 1024)


def test_devices_do_what_their_tables_say(run, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "one").write_bytes(b"1")
    status, text = run(
        """
        [[virtio]]
        type = "console"
        name = "tty"
        [[virtio]]
        type = "gpio"
        lines = ["button", "led"]
        [[virtio]]
        type = "fs"
        folder = "files"
        tag = "shared"
        [[virtio]]
        type = "vsock"
        cid = 9
        echo = 7
        [[virtio]]
        type = "i2c"
        targets = 0x50
        """,
        "Talker",
    )
    assert status == 0
    for line in (
        "devices: tty: first",
        "devices: tty: second",
        "devices: gpio: led = 1",
        "guest: shared: ['one']",
        "guest: (b'echo', [b'', b'i2c']) as 9",
    ):
        assert line in text.splitlines()


def test_a_device_of_ones_own_in_a_partition_of_ones_own(run):
    status, text = run(
        """
        [[sp]]
        name = "mine"
        python = "ffabric.virtio:DeviceSide"
        [sp.options]
        generation = "v2"
        [[virtio]]
        type = "python"
        python = "guests.py:Mine"
        partition = "mine"
        driver = "guest"
        [virtio.options]
        text = "mine"
        """,
        "Reader",
    )
    assert status == 0
    assert "guest: 0: 63" in text
    assert "guest: b'mine'" in text


def test_a_device_of_another_driver_is_not_there(run):
    status, text = run(
        """
        [[vm]]
        name = "other"
        python = "guests.py:Guest"
        [[virtio]]
        type = "rng"
        driver = "other"
        [[virtio]]
        type = "block"
        size = 512
        driver = "guest"
        """
    )
    assert status == 0
    assert "other: 0: 4" in text
    assert "guest: 1: 2" in text
    assert "guest: 0" not in text


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ('type = "blok"', "type: 'blok' is not one of block, network, console"),
        ('type = "blok"', "did you mean 'block'"),
        ("name = 'x'", "type"),
        ('type = "rng"\nsize = 3', "size"),
        ('type = "block"', "[[virtio]] block: it needs an image or a size"),
        ('type = "block"\nimage = "none"', "[[virtio]] block: {folder}/none: No such file"),
        ('type = "block"\nsize = 100', "not a multiple of 0x200"),
        ('type = "block"\nimage = "odd"', "block: {folder}/odd has 100 bytes: no multiple of 512"),
        ('type = "block"\nimage = "empty"', "block: {folder}/empty is empty"),
        ('type = "block"\nimage = "."', "{folder} is not a regular file"),
        (
            'type = "block"\nimage = "image.bin"\nsize = 512',
            "{folder}/image.bin has 4096 bytes, and the disk is to have 512",
        ),
        ('type = "network"\nmac = "01:00:00:00:00:00"', "the address of no interface"),
        ('type = "network"\nmac = "zz"', "[[virtio]] network: non-hexadecimal"),
        ('type = "network"\nmtu = 60', "less than 0x44"),
        ('type = "vsock"\ncid = 2', "less than 0x3"),
        ('type = "i2c"\ntargets = 0x80', "0x80 is no 7-bit address"),
        ('type = "gpio"', "lines"),
        ('type = "fs"\nfolder = "none"', "[[virtio]] fs: {folder}/none: No such file"),
        ('type = "fs"\ntag = ""', "a tag has 1 to 36 bytes"),
        ('type = "python"\npython = "guests.py:None"', "guests.py has no 'None'"),
        ('type = "python"\npython = "guests.py:Guest"', "is not an ffabric.virtio.Device"),
        ('type = "python"\npython = "guests.py:Mine"', "missing 1 required positional argument"),
        ('type = "rng"\npartition = "image"', "only a partition in Python can have"),
    ],
)
def test_every_mistake_is_a_line_with_the_table(run, tmp_path, table, reason):
    for name, size in (("image.bin", 4096), ("odd", 100), ("empty", 0)):
        (tmp_path / name).write_bytes(bytes(size))
    image = '[[vm]]\nname = "image"\nimage = "image.bin"\n'
    status, text = run(f"{image}[[virtio]]\n{table}\n")
    assert status == 2
    assert reason.format(folder=tmp_path) in text
    assert "Traceback" not in text
