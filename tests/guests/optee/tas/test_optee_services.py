"""The blocking calls of the FF-A ABI, and yielding calls that are none."""

from typing import ClassVar
from uuid import UUID

import pytest
from optee_sides import LAB, Lab

from ffabric.abi.ffa.functions import FFA_FEATURES
from ffabric.abi.ffa.status import Status
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee.ffa import OPTEE_UUID, Return
from ffabric.abi.optee.tee import Login, Result
from ffabric.abi.words import MASK32
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.memory import SharedMemory
from ffabric.guests.optee.tas.ta import TrustedApp
from ffabric.guests.partition import Partition
from ffabric.session.optee import BlockingDriver

DENIED = Status.DENIED & MASK32


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ((abi.GET_API_VERSION,), (1, 0, 0, 0, 0)),
        ((abi.GET_OS_VERSION,), (4, 10, 0, 0, 0)),
        ((abi.EXCHANGE_CAPABILITIES,), (0, 4, 3, 0, 0)),
        ((abi.UNREGISTER_SHM, 1, 2), (0, 0, 0, 0, 0)),
        ((abi.ENABLE_ASYNC_NOTIF, 63), (0, 0, 0, 0, 0)),
        ((abi.ENABLE_ASYNC_NOTIF, 64), (Result.BAD_PARAMETERS, 0, 0, 0, 0)),
        ((4,), (Result.BAD_PARAMETERS, 0, 0, 0, 0)),
        ((0x7FFF_FFFF,), (Result.BAD_PARAMETERS, 0, 0, 0, 0)),
        ((abi.YIELDING | 2,), (DENIED, Return.DONE, 0, 0, 0)),
        ((abi.YIELDING_CALL_RESUME, 0, 0, 0, 0), (Result.BAD_PARAMETERS, 0, 0, 0, 0)),
        ((abi.YIELDING_CALL_RESUME, 0, 0, 0, 99), (Result.BAD_PARAMETERS, 0, 0, 0, 0)),
        ((abi.YIELDING_CALL_WITH_ARG, 7, 7), (Result.BAD_PARAMETERS, Return.DONE, 0, 0, 0)),
    ],
)
def test_services(tee, bits, words, answer):
    assert tee.words(*words, bits=bits) == answer


def test_the_partition_is_found_by_its_uuid(tee):
    (found,) = tee.system.vm("alice").ffa.partition_info(OPTEE_UUID)
    assert tee.driver.found.endpoint == found.id == tee.system.sp("optee").id
    assert tee.driver.found.version == (4, 10)
    assert str(tee.driver.found.capabilities) == "0x3 (ASYNC_NOTIF=1, ARG_OFFSET=1)"


def test_without_optee_there_is_nothing_to_probe(ffabric):
    system = ffabric.boot(vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    with pytest.raises(LookupError, match=r"implements 486178e0-.*INVALID_PARAMETERS"):
        driver.probe()
    with pytest.raises(LookupError, match="no OP-TEE has been probed"):
        driver.open_session(OPTEE_UUID)


class Impostor(Partition):
    """Has OP-TEE's UUID, and answers every service alike."""

    uuid = OPTEE_UUID
    answer = (0, 0, 0)

    async def on_direct_request(self, request, ffa):
        return request.respond(*self.answer)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ((0, 0, 0), Result.UNSUPPORTED_VERSION),
        ((2, 0, 0), Result.UNSUPPORTED_VERSION),
        ((1, 0, 1), 1),
    ],
)
def test_what_does_not_work_with_the_driver(ffabric, answer, result):
    impostor = Impostor()
    impostor.answer = answer
    system = ffabric.boot(sps=[impostor], vms=["alice"])
    with pytest.raises(TeeError) as caught:
        BlockingDriver(system.vm("alice").ffa).probe()
    assert caught.value.result == result


async def no_features(self, feature):
    raise FfaError(Status.NOT_SUPPORTED, FFA_FEATURES)


def test_an_spmc_without_notifications(ffabric, monkeypatch):
    monkeypatch.setattr(Ffa, "features", no_features)
    system = ffabric.boot(sps=[OpTee()], vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    assert driver.probe().capabilities == abi.CAP_ARG_OFFSET
    assert driver.devices() == []
    with pytest.raises(TeeError, match="NOT_IMPLEMENTED, origin COMMS"):
        driver.enable_notifications()


def test_tas_that_cannot_be_told_apart():
    with pytest.raises(ValueError, match=f"two TAs have the UUID {LAB}"):
        OpTee(Lab, type("Other", (Lab,), {}))
    with pytest.raises(ValueError, match="0 threads serve nobody"):
        OpTee(threads=0)
    OpTee(Lab, Lab)


class Garbler(OpTee):
    """An OP-TEE that answers yielding calls with nonsense."""

    garbage = b""
    words = (0, 0)

    async def on_direct_request(self, request, ffa):
        if request.payload[0] != abi.YIELDING_CALL_WITH_ARG:
            return await super().on_direct_request(request, ffa)
        memory = self.banks[0].memory
        assert isinstance(memory, SharedMemory)
        region = await memory.get(ffa, request.payload[1], request.sender)
        region.write(ffa.memory, request.payload[3], self.garbage)
        memory.put(region)  # type: ignore[arg-type]
        return request.respond(*self.words)


@pytest.mark.parametrize(
    ("garbage", "words"),
    [
        (b"\xff" * 32, (0, Return.DONE)),
        (b"", (0, 77)),
        (b"\xff" * 64, (0, Return.RPC_CMD)),
    ],
)
def test_what_no_driver_understands(ffabric, garbage, words):
    garbler = Garbler()
    garbler.garbage, garbler.words = garbage, words
    system = ffabric.boot(sps=[garbler], vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    slots = None
    for _ in range(3):
        with pytest.raises(TeeError, match="COMMUNICATION, origin COMMS"):
            driver.close_session(1)
        assert slots in (None, len(driver.state.slots))
        slots = len(driver.state.slots)


class Named(TrustedApp):
    """A TA whose UUID is text, and which remembers who opened it."""

    uuid = "5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d31"
    seen: ClassVar[list[str]] = []

    async def open_session(self, session, params):
        self.seen.append(str(session.client.uuid))


def test_uuids_of_tas_and_clients_may_be_text(ffabric):
    system = ffabric.boot(sps=[OpTee(Named)], vms=["alice"])
    driver = BlockingDriver(system.vm("alice").ffa)
    driver.probe()
    group = "5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d32"
    driver.open_session(Named.uuid, login=Login.GROUP, client=group)
    driver.open_session(UUID(Named.uuid), login=Login.GROUP, client=UUID(group))
    assert Named.seen == [group, group]
    with pytest.raises(ValueError, match="'bank' is not a UUID"):
        driver.open_session("bank")
    with pytest.raises(ValueError, match="'staff' is not a UUID"):
        driver.open_session(Named.uuid, client="staff")


@pytest.mark.parametrize("wrong", [Named(), [Named], "named", OpTee])
def test_what_is_not_a_class_of_a_ta_is_refused_at_once(wrong):
    with pytest.raises(TypeError, match="classes derived from TrustedApp, not "):
        OpTee(wrong)


def test_a_ta_needs_a_uuid():
    with pytest.raises(TypeError, match="Nameless has no `uuid` for clients to open it by"):
        OpTee(type("Nameless", (TrustedApp,), {}))
    with pytest.raises(ValueError, match="'8aaa' is not a UUID"):
        OpTee(type("Short", (TrustedApp,), {"uuid": "8aaa"}))
