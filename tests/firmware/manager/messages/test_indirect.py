from uuid import UUID

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import partition_info as info
from ffabric.abi.ffa import uuids
from ffabric.abi.ffa.messages import Message, build_message, header_size, parse_message
from ffabric.abi.ffa.version import V1_0, V1_1, V1_2, V1_3
from ffabric.firmware.state.interface.conventions import SPECIFICATION, Conventions
from ffabric.system.description.python import sp, vm

DELAY = 0b10
OTHER_UUID = UUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")


@pytest.fixture
def pair(bench, sp, other):
    bench.give_mailbox(sp)
    bench.give_mailbox(other, pages=2)
    return sp, other


def write(sender, message, version=None):
    sender.mailbox.tx.write(build_message(message, version or sender.version))


def received(receiver):
    data = receiver.mailbox.rx.snapshot(receiver.mailbox.rx.size)
    return parse_message(data, receiver.version)


def hello(sender=0x8001, receiver=0x8002, payload=b"hello", uuid=uuids.NIL):
    return Message(sender, receiver, payload, uuid)


def test_a_message_arrives_and_rx_is_the_receivers(bench, pair):
    one, two = pair
    write(one, hello(uuid=OTHER_UUID))
    assert bench.ok(one, fid.FFA_MSG_SEND2)[1:8] == [0] * 7
    assert received(two) == hello(uuid=OTHER_UUID)
    assert two.mailbox.full
    assert not one.mailbox.full


@pytest.mark.parametrize("sender", [V1_1, V1_2, V1_3])
@pytest.mark.parametrize("receiver", [V1_1, V1_2, V1_3])
def test_the_header_is_the_receivers(bench, pair, sender, receiver):
    one, two = pair
    one.allow(one.calls, sender)
    two.allow(two.calls, receiver)
    write(one, hello())
    bench.ok(one, fid.FFA_MSG_SEND2)
    data = two.mailbox.rx.snapshot(100)
    size = header_size(receiver)
    assert data[8] == size
    assert data[size:] == b"hello".ljust(100 - size, b"\0")
    assert received(two) == hello()


def test_nothing_of_an_earlier_message_stays_in_rx(bench, pair):
    one, two = pair
    two.mailbox.rx.write(b"\xee" * two.mailbox.rx.size)
    write(one, hello())
    bench.ok(one, fid.FFA_MSG_SEND2)
    assert not any(two.mailbox.rx.snapshot(8192)[45:])


def test_a_payload_may_stand_anywhere_in_tx(bench, pair):
    one, two = pair
    data = bytearray(build_message(hello(payload=b""), one.version).ljust(4096, b"#"))
    data[8:12] = (4096 - 3).to_bytes(4, "little")
    data[16:20] = (3).to_bytes(4, "little")
    data[-3:] = b"abc"
    one.mailbox.tx.write(bytes(data))
    bench.ok(one, fid.FFA_MSG_SEND2)
    assert received(two).payload == b"abc"
    assert b"#" not in two.mailbox.rx.snapshot(8192)


# Signals


def test_the_receiver_is_told_that_rx_is_full(bench, pair):
    one, two = pair
    write(one, hello())
    bench.ok(one, fid.FFA_MSG_SEND2)
    assert bench.signals == [(0x8002, None, False)]
    assert two.signals
    got = bench.ok(two, fid.FFA_NOTIFICATION_GET, two.id, 0b100)
    assert got[2:8] == [0, 0, 0, 0, 1, 0]


def test_an_sp_may_delay_the_schedule_receiver_interrupt(bench, pair):
    write(pair[0], hello())
    bench.ok(pair[0], fid.FFA_MSG_SEND2, 0, DELAY)
    assert bench.signals == [(0x8002, None, True)]


def test_a_receiver_without_notifications_is_not_signalled(bench, pair):
    pair[1].notifications = None
    write(pair[0], hello())
    bench.ok(pair[0], fid.FFA_MSG_SEND2)
    assert bench.signals == []
    assert received(pair[1]) == hello()


def test_a_message_of_a_vm_raises_the_hypervisors_bit(bench, other):
    bench.give_mailbox(other)
    bench.give_mailbox(bench.gateway)
    write(bench.gateway, hello(sender=0))
    bench.ok(bench.gateway, fid.FFA_MSG_SEND2)
    assert bench.ok(other, fid.FFA_NOTIFICATION_GET, other.id, 0b100)[6:8] == [0, 1]


# Other worlds


def test_the_gateway_sends_for_a_vm_from_the_vms_buffers(bench, sp, other):
    bench.give_mailbox(other)
    bench.give_mailbox(sp)
    bench.peer.mailbox_of = lambda partition, sender: sp.mailbox if sender == 3 else None
    write(sp, hello(sender=3))
    bench.ok(bench.gateway, fid.FFA_MSG_SEND2, 3 << 16)
    assert received(other) == hello(sender=3)
    assert bench.refused(bench.gateway, fid.FFA_MSG_SEND2, 4 << 16) == "message.no_tx"


def test_a_message_to_another_managers_endpoint_is_passed_on(bench, pair):
    write(pair[0], hello(receiver=5))
    bench.ok(pair[0], fid.FFA_MSG_SEND2, 0, DELAY)
    assert bench.forwarded == [(hello(receiver=5), True)]


def test_the_own_id_in_w1_is_as_good_as_zero(bench, pair):
    write(pair[0], hello())
    bench.ok(pair[0], fid.FFA_MSG_SEND2, 0x8001 << 16)


# Refusals


def refuse(bench, pair, rule, *, w1=0, w2=0, **message):
    write(pair[0], hello(**message))
    assert bench.refused(pair[0], fid.FFA_MSG_SEND2, w1, w2) == rule
    assert not pair[1].mailbox.full
    assert bench.signals == []


def test_a_sender_is_itself(bench, pair):
    refuse(bench, pair, "message.sender", w1=0x8002 << 16)
    refuse(bench, pair, "message.header_sender", sender=0x8002)
    refuse(bench, pair, "message.self", receiver=0x8001)


def test_reserved_flags_are_refused(bench, pair):
    refuse(bench, pair, "message.flags_mbz", w2=0b100)
    refuse(bench, pair, "message.flags_mbz", w2=DELAY | 1)
    flags = (fid.FFA_MSG_SEND2, 0, DELAY)
    assert bench.refused(bench.gateway, *flags) == "message.flags_mbz"


def test_an_unknown_receiver_is_refused(bench, pair):
    refuse(bench, pair, "message.receiver", receiver=0xFFFF)


def test_without_buffers_there_is_nothing_to_send(bench, sp):
    assert bench.refused(sp, fid.FFA_MSG_SEND2) == "message.no_tx"


def test_both_need_the_property(bench, pair):
    pair[1].properties &= ~info.INDIRECT_MESSAGES
    refuse(bench, pair, "message.receiver_property")
    pair[0].properties &= ~info.INDIRECT_MESSAGES
    refuse(bench, pair, "message.sender_property")


def test_a_receiver_of_v1_0_knows_no_header(bench, pair):
    pair[1].allow(pair[1].calls, V1_0)
    refuse(bench, pair, "message.receiver_version")


def test_a_uuid_that_the_receiver_lacks_is_refused_by_a_manager_that_looks(bench, pair):
    bench.conventions = Conventions(enforce=["message.uuid"])
    refuse(bench, pair, "message.uuid", uuid=UUID(int=5))
    bench.conventions = SPECIFICATION
    write(pair[0], hello(uuid=UUID(int=5)))
    bench.ok(pair[0], fid.FFA_MSG_SEND2)
    assert received(pair[1]).uuid == UUID(int=5)


def test_rx_must_be_there_and_free(bench, pair):
    one, two = pair
    write(one, hello())
    bench.ok(one, fid.FFA_MSG_SEND2)
    assert bench.refused(one, fid.FFA_MSG_SEND2) == "rx.busy"
    two.mailbox = None
    assert bench.refused(one, fid.FFA_MSG_SEND2) == "rx.no_buffers"


def test_a_message_must_fit_into_rx(bench, pair):
    one, two = pair
    one.allow(one.calls, V1_1)
    two.allow(two.calls, V1_2)
    write(two, hello(sender=0x8002, receiver=0x8001, payload=bytes(5000)))
    assert bench.refused(two, fid.FFA_MSG_SEND2) == "message.rx_size"
    write(one, hello(payload=bytes(4096 - 20)))
    bench.ok(one, fid.FFA_MSG_SEND2)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(39, 1), (0, 0), (4097, 0), (4090, 7), (0xFFFF_FFFF, 1), (40, 0xFFFF_FFFF), (40, 4057)],
)
def test_a_payload_outside_tx_is_refused(bench, pair, offset, size):
    one, two = pair
    data = bytearray(build_message(hello(), one.version))
    data[8:12] = offset.to_bytes(4, "little")
    data[16:20] = size.to_bytes(4, "little")
    one.mailbox.tx.write(bytes(data))
    assert bench.refused(one, fid.FFA_MSG_SEND2) == "abi.malformed_descriptor"
    assert not two.mailbox.full


def test_v1_0_has_no_such_call(bench, pair):
    pair[0].allow(pair[0].calls, V1_0)
    assert bench.refused(pair[0], fid.FFA_MSG_SEND2) == "abi.newer_than_negotiated"


@pytest.mark.parametrize(("sender", "receiver"), [("v", "s"), ("v", "w"), ("s", "t")])
def test_a_system_looks_at_uuids_if_it_says_so(ffabric, sender, receiver):
    def booted(**given):
        sps = [sp(name, notification_support=False) for name in "st"]
        vms = [vm(name, notification_support=False) for name in "vw"]
        system = ffabric.boot(sps=sps, vms=vms, **given)
        ends = {name: system.vm(name) for name in "vw"} | {name: system.sp(name) for name in "st"}
        ends[receiver].ffa.map_buffers()
        return ends[sender].ffa

    with ffabric.refuses("message.uuid"):
        booted(enforce=["message.uuid"]).send2(receiver, b"?", uuid=UUID(int=5))
    booted(enforce=["message.uuid"]).send2(receiver, b"?")
    booted().send2(receiver, b"?", uuid=UUID(int=5))
