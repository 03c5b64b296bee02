"""What a VM in QEMU reaches is what its stage 2 has, with the real QEMU."""

import shutil

import pytest
from puppets import CODE, RAM, UART, Puppets, map_buffers, send

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.observe.trace import traced

PAGE = RAM + 0x10_0000
"""A page of the guest's."""
COUNTER, STOP = RAM + 0x18_0000, RAM + 0x18_0008
RW, NX = 2, 1 << 2
NOWHERE = 0x8000_0000
"""Memory of the machine at that physical address, but no IPA of a VM."""


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


class Borrower(Partition):
    """An SP that borrows what it is told the handle of, and says what it finds there."""

    async def on_direct_request(self, request, ffa):
        what, handle, *more = request.payload
        if what == 1:
            for rights in (RW | NX, RW):  # instruction access is the lender's if it shares
                try:
                    got = await ffa.retrieve(handle, request.sender, permissions=rights)
                except FfaError:
                    continue
                self.address = got.ranges[0][0]
                break
        elif what == 2:
            await ffa.relinquish(handle)
            return request.respond(0)
        if more[0]:
            ffa.memory.write(self.address, more[0].to_bytes(8, "little"))
        return request.respond(int.from_bytes(ffa.memory.read(self.address, 8), "little"))


def one(**options):
    return Puppets(1, **options)


def test_memory_is_where_stage_2_maps_it():
    with one() as puppets:
        ((cpu,),) = puppets.cpus
        piece = cpu.endpoint.spec.memory[0]
        assert piece.ipa == RAM != piece.pa
        cpu.do("store", PAGE, 0x1234)
        assert puppets.memory.read64(piece.pa + PAGE - RAM, secure=False) == 0x1234
        puppets.memory.write64(piece.pa + PAGE - RAM, 0x5678, secure=False)
        assert cpu.do("load", PAGE).value == 0x5678


@pytest.mark.parametrize("what", ["load", "store", "execute"])
@pytest.mark.parametrize("user", [False, True])
def test_what_is_not_there_aborts_in_the_guest_and_is_told_with_its_pc(tmp_path, what, user):
    with one() as puppets, traced(puppets.system, tmp_path / "trace.jsonl"):
        ((cpu,),) = puppets.cpus
        if user:
            result = cpu.do("user", NOWHERE + 8, 1, ["load", "store", "execute"].index(what))
        else:
            result = cpu.do(what, NOWHERE + 8, 1)
        assert result.aborted
        assert result.far == NOWHERE + 8
        level = 0 if user else 1
        assert result.syndrome >> 26 == (0x20 if what == "execute" else 0x24) + level
        fault = cpu.ctx.fault
        assert (fault.ipa, fault.va, fault.write) == (NOWHERE + 8, NOWHERE + 8, what == "store")
        assert fault.kind == ("fetch" if what == "execute" else "data")
        assert fault.pc == (NOWHERE + 8 if what == "execute" else result.pc)
        assert cpu.do("load", PAGE).exceptions == 0
    trace = (tmp_path / "trace.jsonl").read_text()
    assert f'"syndrome":"{fault.syndrome:#x}","pc":"{fault.pc:#x}"' in trace


def test_calls_by_either_conduit_come_to_the_hypervisor():
    with one() as puppets:
        ((cpu,),) = puppets.cpus
        for conduit in ("call", "hypercall"):
            assert cpu.call(fid.FFA_ID_GET, conduit=conduit)[:3] == [
                fid.FFA_SUCCESS_32,
                0,
                cpu.endpoint.id,
            ]


def test_two_vms_have_the_same_addresses_and_other_memory():
    with Puppets(1, 1) as puppets:
        (first,), (second,) = puppets.cpus
        first.do("store", PAGE, 1)
        second.do("store", PAGE, 2)
        assert [first.do("load", PAGE).value, second.do("load", PAGE).value] == [1, 2]
        theirs = second.endpoint.spec.memory[0].pa + PAGE - RAM
        assert first.do("load", theirs).aborted


def lend(cpu, kind=fid.FFA_MEM_LEND_64, pages=((PAGE, 1),)):
    answer = send(cpu, kind, pages, [0x8002])
    assert answer[0] & MASK32 == fid.FFA_SUCCESS_32
    return answer[2] | answer[3] << 32


def ask(cpu, *payload):
    answer = cpu.call(fid.FFA_MSG_SEND_DIRECT_REQ_64, cpu.endpoint.id << 16 | 0x8002, 0, *payload)
    assert answer[0] == fid.FFA_MSG_SEND_DIRECT_RESP_64
    return answer[3]


@pytest.fixture
def lender():
    with one(sps=[Borrower("borrower")]) as puppets:
        ((cpu,),) = puppets.cpus
        map_buffers(cpu)
        yield cpu


@pytest.mark.parametrize("kind", [fid.FFA_MEM_LEND_64, fid.FFA_MEM_DONATE_64])
def test_a_page_that_is_lent_or_donated_is_gone(lender, kind):
    lender.do("store", PAGE, 7)
    handle = lend(lender, kind)
    assert lender.do("load", PAGE).aborted
    assert lender.do("load", PAGE + 0x1000).exceptions == 0
    assert ask(lender, 1, handle, 0) == 7
    assert lender.do("store", PAGE, 8).aborted
    assert ask(lender, 3, handle, 0) == 7


def test_a_page_that_is_reclaimed_is_back_with_what_the_borrower_wrote(lender):
    handle = lend(lender)
    ask(lender, 1, handle, 9)
    assert lender.do("load", PAGE).aborted
    ask(lender, 2, handle, 0)
    answer = lender.call(fid.FFA_MEM_RECLAIM, handle & MASK32, handle >> 32, 0)
    assert answer[0] == fid.FFA_SUCCESS_32
    assert lender.do("load", PAGE).value == 9


def test_a_page_that_is_shared_is_there_for_both(lender):
    lender.do("store", PAGE, 5)
    handle = lend(lender, fid.FFA_MEM_SHARE_64)
    assert ask(lender, 1, handle, 0) == 5
    assert ask(lender, 3, handle, 6) == 6
    assert lender.do("load", PAGE).value == 6


def test_code_that_the_borrower_wrote_is_what_runs_when_the_page_is_back(lender):
    def run():
        return lender.do("execute", PAGE).value

    lender.write(PAGE, CODE[1])
    assert run() == 1
    for n in (2, 3, 4):
        handle = lend(lender)
        ask(lender, 1, handle, int.from_bytes(CODE[n], "little"))
        ask(lender, 2, handle, 0)
        lender.call(fid.FFA_MEM_RECLAIM, handle & MASK32, handle >> 32, 0)
        assert run() == n


def test_code_of_more_pages_than_can_be_told_at_once_is_forgotten(lender):
    """The mailbox has room for 512 ranges."""
    pages = [(RAM + 0x20_0000 + 2 * n * 0x1000, 1) for n in range(600)]
    some = [ipa for ipa, _ in pages[::60]]
    for ipa in some:
        lender.write(ipa, CODE[1])
        assert lender.do("execute", ipa).value == 1
    for part in (pages[:200], pages[200:400], pages[400:]):
        handle = lend(lender, pages=part)
        assert all(lender.do("load", ipa).aborted for ipa, _ in part[::60])
        answer = lender.call(fid.FFA_MEM_RECLAIM, handle & MASK32, handle >> 32, 0)
        assert answer[0] == fid.FFA_SUCCESS_32
    for ipa in some:
        lender.write(ipa, CODE[5])
    assert {lender.do("execute", ipa).value for ipa in some} == {5}


def test_the_console_is_the_guests_own():
    lines = []
    with one() as puppets:
        ((cpu,),) = puppets.cpus
        puppets.system.listeners.append(lambda name, line: lines.append((name, line)))
        for letter in b"hello\n":
            cpu.do("print", letter, UART, 1)
        cpu.do("nothing")
        puppets.system.flush_consoles()
    assert lines == [("vm0", "hello")]
