"""Raw calls, executed: who answers, who waits, who is resumed, and what cannot be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.version import LATEST
from ffabric.abi.words import PAGE
from ffabric.lab.calls.lines import Call
from ffabric.lab.calls.player import Player
from ffabric.lab.calls.systems import default_system, drive
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp

VM1, SP1 = 1, 0x8001
TX, RX = 0x4000_1000, 0x4000_2000


class Game:
    """A booted system; ``play`` makes the calls of the next line."""

    def __init__(self, spec):
        self.system = boot(drive(spec, ()))
        self.player = Player(self.system, [each.name for each in (*spec.sps, *spec.vms)])
        self.line = 0

    def play(self, endpoint, *x, **more):
        self.line += 1
        call = Call(line=self.line, endpoint=endpoint, x=list(x) or None, **more)
        return list(self.player.play(call))

    def one(self, endpoint, *x, **more):
        """The answer to a call, and nothing else."""
        (answer,) = self.play(endpoint, *x, **more)
        assert answer["line"] == self.line
        assert answer["endpoint"] == endpoint
        return answer

    def x(self, endpoint, *x, **more):
        """The registers after a call that returns."""
        return registers(self.one(endpoint, *x, **more))


def registers(answer):
    return [int(each, 16) for each in answer["x"]]


@pytest.fixture
def game():
    made = []

    def start(spec=None):
        made.append(Game(spec or default_system()))
        return made[-1]

    yield start
    for each in made:
        each.system.close()


def request(payload=0, sender=VM1, receiver=SP1):
    return (fid.FFA_MSG_SEND_DIRECT_REQ_32, sender << 16 | receiver, 0, payload)


def response(payload=0, sender=SP1, receiver=VM1):
    return (fid.FFA_MSG_SEND_DIRECT_RESP_32, sender << 16 | receiver, 0, payload)


def test_a_call_is_answered_with_the_registers_after_it(game):
    answer = game().one("vm1", fid.FFA_VERSION, 0x10002)

    assert answer["pe"] == 0
    assert registers(answer) == [LATEST, 0, 0, 0, 0, 0, 0, 0]


def test_memory_is_stored_before_the_call_and_loaded_after_it(game):
    played = game()
    played.x("vm1", fid.FFA_RXTX_MAP_64, TX, RX, 1)
    answer = played.one("vm1", fid.FFA_PARTITION_INFO_GET, read=[(RX, 4), (TX, 2)])

    assert registers(answer)[:4] == [fid.FFA_SUCCESS_32, 0, 6, 24]
    assert answer["read"] == ["01000800", "0000"]
    assert played.one("vm1", write=[(TX, b"\1\2")], read=[(TX, 2)])["read"] == ["0102"]


def test_memory_that_is_not_there_is_an_error_of_the_line(game):
    played = game()
    wrong = played.one("vm1", fid.FFA_ID_GET, write=[(0, b"\1")])
    assert wrong["error"] == "store to IPA 0x0: translation fault, level 2"
    assert "x" not in wrong

    wrong = played.one("vm1", fid.FFA_ID_GET, read=[((1 << 64) - 1, 2), (TX, 1)])
    assert registers(wrong)[2] == VM1
    assert wrong["read"] == [None, "00"]
    assert "translation fault" in wrong["error"]


def test_a_refusal_names_its_rule(game):
    refused = game().one("vm1", *request(sender=VM1 + 1))["refused"]

    assert refused["rule"] == "direct.req.sender"
    assert refused["status"] == "INVALID_PARAMETERS"
    assert (refused["got"], refused["expected"]) == ("0x2", "0x1")


def test_what_the_spmc_refuses_is_told_to_the_vm_that_called(game):
    played = game()
    played.play("vm1", *request(receiver=0x8003), pe=3)
    (answer,) = played.play("vm2", *request(sender=2, receiver=0x8003), pe=5)

    assert answer["refused"]["rule"] == "direct.req.receiver_busy"


def test_a_request_is_what_the_receivers_msg_wait_returns(game):
    played = game()
    assert played.one("sp1", fid.FFA_MSG_WAIT) == {
        "line": 1,
        "endpoint": "sp1",
        "pe": 0,
        "waiting": True,
    }
    blocked, given_to_sp = played.play("vm1", *request(7))
    assert blocked["blocked"] == "sp1.0"
    assert (given_to_sp["line"], given_to_sp["resumed"]) == (1, 2)
    assert registers(given_to_sp)[:4] == [*request(7)]

    waiting, answered = played.play("sp1", *response(8))
    assert waiting["waiting"] is True
    assert (answered["line"], answered["resumed"], answered["endpoint"]) == (2, 3, "vm1")
    assert registers(answered)[:4] == [*response(8)]


def test_an_sp_waits_by_itself_if_no_line_says_so(game):
    played = game()
    _, given_to_sp = played.play("vm1", *request(7))

    assert given_to_sp["line"] is None
    assert given_to_sp["endpoint"] == "sp1"
    assert registers(given_to_sp)[:4] == [*request(7)]


def test_what_is_read_of_a_call_that_waits_is_read_when_it_returns(game):
    played = game()
    rx = 0x0620_0000 - 2 * PAGE
    played.x("sp1", fid.FFA_RXTX_MAP_64, rx + PAGE, rx, 1)
    assert "read" not in played.one("sp1", fid.FFA_MSG_WAIT, read=[(0x0610_0000, 1)])
    played.one("sp1", write=[(0x0610_0000, b"\x2a")])

    assert played.play("vm1", *request())[1]["read"] == ["2a"]


def test_the_first_lines_of_an_sp_are_its_initialisation(game):
    entry = 0x0600_0000
    played = game()

    assert played.x("sp1", fid.FFA_SECONDARY_EP_REGISTER_64, entry)[0] == fid.FFA_SUCCESS_32
    played.x("vm1", fid.FFA_ID_GET)  # sp1 and the others finish by themselves
    late = played.play("sp1", fid.FFA_SECONDARY_EP_REGISTER_64, entry)
    assert late[0]["refused"]["rule"] == "secondary.initialising"


def test_an_sp_that_waits_gets_cycles_for_its_line(game):
    played = game()
    played.one("sp3", fid.FFA_MSG_WAIT)
    played.x("vm1", fid.FFA_ID_GET)
    resumed, answer = played.play("sp3", fid.FFA_ID_GET)

    assert (resumed["line"], resumed["resumed"]) == (1, 3)
    assert registers(resumed)[:2] == [fid.FFA_RUN, 0x8003 << 16]
    assert registers(answer)[2] == 0x8003


def test_an_sp_that_has_yielded_is_continued_by_ffa_run(game):
    played = game()
    played.x("vm1", fid.FFA_ID_GET)
    played.x("sp3", fid.FFA_ID_GET)
    assert played.one("sp3", fid.FFA_YIELD)["waiting"] is True
    error = played.one("sp3", fid.FFA_ID_GET)["error"]
    assert error.endswith("it has yielded, and FFA_RUN continues it")
    blocked, resumed = played.play("vm1", fid.FFA_RUN, 0x8003 << 16)

    assert blocked["blocked"] == "sp3.0"
    assert (resumed["line"], registers(resumed)[0]) == (3, fid.FFA_SUCCESS_32)
    assert played.x("sp3", fid.FFA_ID_GET)[2] == 0x8003


def test_whoever_is_blocked_makes_no_call(game):
    played = game()
    played.play("vm1", *request())

    error = played.one("vm1", fid.FFA_ID_GET)["error"]
    assert error == "vm1.0 is BLOCKED since line 1; PE 0 runs sp1.0"


def test_a_pe_is_where_the_call_is_made(game):
    played = game()
    for name, endpoint in (("vm1", VM1), ("vm2", 2), ("sp2", 0x8002), ("sp3", 0x8003)):
        answer = played.one(name, fid.FFA_ID_GET, pe=5)
        assert (answer["pe"], registers(answer)[2]) == (5, endpoint)
    blocked, given_to_sp = played.play("vm1", *request(), pe=3)
    assert blocked["blocked"] == "sp1.3"
    assert given_to_sp["pe"] == 3


def test_an_endpoint_with_one_vcpu_moves_unless_a_call_chain_holds_it(game):
    played = game(describe(pes=3, sps=["sp1", "sp2"], vms=["vm1"]))
    for pe in (0, 2, 1):
        assert played.one("vm1", fid.FFA_ID_GET, pe=pe)["pe"] == pe
    assert played.one("sp1", fid.FFA_ID_GET, pe=2)["pe"] == 2
    assert "it cannot move to PE 0" in played.one("sp1", fid.FFA_ID_GET, pe=0)["error"]
    played.one("sp1", fid.FFA_MSG_WAIT)
    assert played.play("sp1", fid.FFA_ID_GET, pe=0)[-1]["pe"] == 0


def test_a_vcpu_that_suspends_itself_wakes_for_its_next_line(game):
    played = game()
    assert played.one("vm1", psci.CPU_SUSPEND_64)["waiting"] is True
    resumed, answer = played.play("vm1", fid.FFA_ID_GET)

    assert registers(resumed)[0] == 0
    assert registers(answer)[2] == VM1


def test_a_vcpu_that_turns_itself_off_stays_off(game):
    played = game()
    played.x("vm1", fid.FFA_ID_GET, pe=1)
    assert played.one("vm1", psci.CPU_OFF, pe=1)["ended"] == "vm1.1 is off"
    assert played.one("vm1", fid.FFA_ID_GET, pe=1)["error"] == "vm1.1 is off"
    mpidr = played.system.machine.pes[1].mpidr
    assert played.x("vm1", psci.CPU_ON_64, mpidr, 0x4000_0000)[0] == 0
    assert played.x("vm1", fid.FFA_ID_GET, pe=1)[2] == VM1


def test_who_gives_up_has_ended_and_who_asked_it_is_told(game):
    played = game()
    played.play("vm1", *request())
    ended, told = played.play("sp1", fid.FFA_ERROR, 0, 0xFFFFFFFE)

    assert ended["ended"] == "sp1 has ended: reported FFA_ERROR -2"
    assert told["line"] == 1
    assert registers(told)[0] == fid.FFA_ERROR
    assert played.one("sp1", fid.FFA_ID_GET)["error"] == ended["ended"]
    assert played.one("sp1", read=[(0x0600_0000, 1)])["error"] == ended["ended"]


def test_without_a_hypervisor_the_kernel_is_played(game):
    played = game(describe(pes=2, hypervisor=False, sps=[sp("sp1", vcpus=2)], vms=["kernel"]))
    assert played.x("kernel", fid.FFA_ID_GET, pe=1)[2] == 0
    blocked, _ = played.play("kernel", *request(sender=0), pe=1)
    assert blocked["blocked"] == "sp1.1"
    _, answered = played.play("sp1", *response(9, receiver=0), pe=1)
    assert registers(answered)[3] == 9
    off, _ = played.play("kernel", psci.SYSTEM_OFF)
    assert off["ended"] == "the system is powered off (off)"
    assert "powered off" in played.one("sp1", fid.FFA_ID_GET)["error"]


def test_memory_is_shared_by_a_descriptor_in_tx_and_retrieved(game):
    played = game()
    played.x("vm1", fid.FFA_VERSION, LATEST)
    played.x("vm1", fid.FFA_RXTX_MAP_64, TX, RX, 1)
    sp_tx, sp_rx = 0x0610_0000, 0x0610_1000
    played.play("sp1", fid.FFA_RXTX_MAP_64, sp_tx, sp_rx, 1)
    share = abi.Transaction(
        sender=VM1,
        attributes=0x2F,
        receivers=[abi.Receiver(SP1, mem.PERM_DATA_RW)],
        constituents=[(0x4080_0000, 1)],
    )
    data = abi.build_transaction(share, LATEST)
    size = len(data)
    x = played.x(
        "vm1",
        *(fid.FFA_MEM_SHARE_32, size, size),
        write=[(TX, data), (0x4080_0000, b"hello")],
    )
    assert x[0] == fid.FFA_SUCCESS_32
    retrieve = abi.Transaction(
        sender=VM1,
        handle=x[2] | x[3] << 32,
        receivers=[abi.Receiver(SP1, mem.PERM_DATA_RW)],
    )
    data = abi.build_transaction(retrieve, LATEST)
    answer = played.play(
        "sp1",
        *(fid.FFA_MEM_RETRIEVE_REQ_32, len(data), len(data)),
        write=[(sp_tx, data)],
        read=[(sp_rx, 128)],
    )[-1]
    assert registers(answer)[0] == fid.FFA_MEM_RETRIEVE_RESP
    size = registers(answer)[1]
    got = abi.parse_transaction(bytes.fromhex(answer["read"][0])[:size], LATEST)
    ((ipa, pages),) = got.constituents
    assert pages == 1
    assert played.one("sp1", read=[(ipa, 5)])["read"] == [b"hello".hex()]


_number = st.one_of(
    st.sampled_from([0, 1, SP1, VM1 << 16 | SP1, SP1 << 16 | VM1, 0x8003, 1 << 63, TX, RX]),
    st.integers(0, (1 << 64) - 1),
)
_function = st.one_of(
    st.sampled_from(sorted(fid.FUNCTIONS)),
    st.sampled_from([psci.CPU_OFF, psci.CPU_ON_64, psci.CPU_SUSPEND_64, psci.SYSTEM_OFF]),
    _number,
)
_line = st.fixed_dictionaries(
    {
        "endpoint": st.sampled_from(["vm1", "vm2", "sp1", "sp2", "sp3", "sp4"]),
        "pe": st.none() | st.integers(0, 7),
        "x": st.none() | st.builds(lambda f, x: [f, *x], _function, st.lists(_number, max_size=17)),
        "write": st.lists(st.tuples(_number, st.binary(max_size=16)), max_size=1),
        "read": st.lists(st.tuples(_number, st.integers(0, 5000)), max_size=1),
    }
)


@settings(max_examples=30, deadline=None)
@given(st.lists(_line, max_size=30))
def test_hostile_lines_are_answered_each(lines):
    played = Game(default_system())
    with played.system:
        for number, line in enumerate(lines, 1):
            answers = list(played.player.play(Call(line=number, **line)))
            assert [each for each in answers if each["line"] == number]
