"""One crypto accelerator for all VMs, in both forms: nobody uses or finds another one's keys."""

import hashlib
import hmac
from uuid import UUID

import pytest

from ffabric.abi.optee import message as m
from ffabric.abi.optee.message import Type, Value
from ffabric.abi.optee.tee import Result
from ffabric.abi.words import PAGE
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.tas.ta import TrustedApp
from ffabric.machine.devices.crypto_engine import SLOTS
from ffabric.session.optee import BlockingDriver
from ffabric.system.description.python import sp, trusted_os, vm
from ffabric.system.manifest.manifest import DeviceRegion, RegionAttributes
from ffabric.system.spec import DeviceSpec
from smc_client import Client

BASE = 0x3000_0000
ADD, AUTHENTICATE, REMOVE, DIGEST = range(4)
KEYS = [bytes([number]) * 32 for number in range(9)]


class Signer(TrustedApp):
    """Signs with keys of its client's."""

    uuid = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d21")

    async def invoke(self, session, command, params):
        engine, value, memory = session.accelerator, params.value(0), params.memref(1)
        data = memory.read()
        if command == ADD:
            value.a = engine.add_key(data)
        elif command == AUTHENTICATE:
            memory.write(engine.authenticate(value.a, data))
        elif command == REMOVE:
            engine.remove_key(value.a)
        else:
            memory.write(engine.digest(data))


class Other(Signer):
    """Another TA of the same VM."""

    uuid = UUID("5b1fa4b2-0001-4c4a-8d5c-52fd2b2b4d22")


class OverFfa:
    """OP-TEE is a secure partition."""

    def __init__(self, ffabric, accelerator=BASE):
        region = DeviceRegion(
            name="engine", base_address=BASE, pages=2,
            attributes=RegionAttributes.READ | RegionAttributes.WRITE,
        )  # fmt: skip
        core = OpTee(Signer, Other, vms=2, accelerator=accelerator)
        self.boot(ffabric, sps=[sp(core, device_regions=(region,))])

    def boot(self, ffabric, **given):
        device = DeviceSpec(
            type="crypto_engine", name="engine", base=BASE, size=2 * PAGE, secure=True
        )
        self.session = ffabric.boot(
            vms=[vm(each, mem_size=16 << 20) for each in ("alice", "bob")],
            devices=[device],
            **given,
        )
        self.system = self.session.system
        self.system.run()
        regions = self.system.machine.bus.regions
        (self.engine,) = {each.device for each in regions if each.base == BASE}

    def client(self, name, ta=Signer):
        driver = BlockingDriver(self.session.vm(name).ffa)
        driver.probe()
        session, memory = driver.open_session(ta.uuid), driver.allocate(2 * PAGE)

        def call(command, number=0, data=b""):
            memory.write(data)
            value, got = driver.invoke(
                session, command, Value(Type.VALUE_INOUT, number), memory.inout(len(data))
            )
            return value.a, memory.read(got.size)

        return call

    def destroy(self, name):
        self.system.destroy_vm(name)
        self.session.run()


class BelowEl3(OverFfa):
    """OP-TEE is a trusted OS, with the mediator between it and the VMs."""

    def __init__(self, ffabric, accelerator=BASE):
        core = OpTee.below_el3(Signer, Other, vms=2, accelerator=accelerator)
        self.boot(ffabric, trusted_os=trusted_os(core, vcpus=2), pes=2)

    def client(self, name, ta=Signer):
        client = Client(self.session.vm(name))
        session, at = client.open(ta.uuid), client.pages(2)

        def call(command, number=0, data=b""):
            client.memory.write(at, data)
            value, got = client.invoke(
                session, command, Value(Type.VALUE_INOUT, number),
                m.Tmem(Type.TMEM_INOUT, at, len(data)),
            )  # fmt: skip
            return value.a, client.memory.read(at, got.size)

        return call


@pytest.fixture(params=[OverFfa, BelowEl3])
def place(ffabric, request):
    return request.param(ffabric)


def refused(result, call, *args):
    with pytest.raises(TeeError) as caught:
        call(*args)
    assert caught.value.result == result


def expected(key, data):
    return hmac.digest(key, data, hashlib.sha256)


DATA = b"what is to be signed, of 32 bytes or more"


def test_digests_and_codes(place):
    alice = place.client("alice")
    assert alice(DIGEST, 0, DATA)[1] == hashlib.sha256(DATA).digest()
    number, _ = alice(ADD, 0, KEYS[0])
    assert alice(AUTHENTICATE, number, DATA)[1] == expected(KEYS[0], DATA)
    refused(Result.EXCESS_DATA, alice, DIGEST, 0, bytes(PAGE + 1))
    refused(Result.BAD_PARAMETERS, alice, ADD, 0, b"short")


def test_vms_have_keys_apart_and_more_than_there_are_slots(place):
    vms = {name: place.client(name) for name in ("alice", "bob")}
    numbers = {name: [call(ADD, 0, key)[0] for key in KEYS] for name, call in vms.items()}
    assert len(KEYS) > SLOTS
    for _ in range(2):
        for number, key in enumerate(KEYS):
            for name, call in vms.items():
                data = DATA + name.encode()
                assert call(AUTHENTICATE, numbers[name][number], data)[1] == expected(key, data)


def test_a_key_of_one_vm_is_not_another_ones(place):
    alice, bob = place.client("alice"), place.client("bob")
    number, _ = alice(ADD, 0, KEYS[0])
    alice(AUTHENTICATE, number, DATA)  # it is in a slot
    refused(Result.ITEM_NOT_FOUND, bob, AUTHENTICATE, number, DATA)
    refused(Result.ITEM_NOT_FOUND, bob, REMOVE, number, DATA)
    own, _ = bob(ADD, 0, KEYS[1])
    assert own == number  # numbers are each VM's own
    assert bob(AUTHENTICATE, own, DATA)[1] == expected(KEYS[1], DATA)
    assert alice(AUTHENTICATE, number, DATA)[1] == expected(KEYS[0], DATA)


def test_a_key_of_one_ta_is_not_another_ones(place):
    number, _ = place.client("alice")(ADD, 0, KEYS[0])
    refused(Result.ITEM_NOT_FOUND, place.client("alice", Other), AUTHENTICATE, number, DATA)
    assert place.client("alice")(AUTHENTICATE, number, DATA)[1] == expected(KEYS[0], DATA)


def test_what_a_vm_leaves_is_erased(place):
    alice, bob = place.client("alice"), place.client("bob")
    for call, key in ((alice, KEYS[1]), (bob, KEYS[2])):
        number, _ = call(ADD, 0, key)
        call(AUTHENTICATE, number, DATA)
    assert {*place.engine.keys} == {b"", KEYS[1], KEYS[2]}
    place.destroy("alice")
    assert {*place.engine.keys} == {b"", KEYS[2]}
    assert bob(AUTHENTICATE, number, DATA)[1] == expected(KEYS[2], DATA)


def test_a_key_that_is_removed_is_erased(place):
    alice = place.client("alice")
    number, _ = alice(ADD, 0, KEYS[1])
    alice(AUTHENTICATE, number, DATA)
    alice(REMOVE, number, DATA)
    assert {*place.engine.keys} == {b""}
    refused(Result.ITEM_NOT_FOUND, alice, AUTHENTICATE, number, DATA)


@pytest.mark.parametrize("form", [OverFfa, BelowEl3])
def test_without_an_accelerator(ffabric, form):
    refused(Result.NOT_SUPPORTED, form(ffabric, None).client("alice"), DIGEST, 0, DATA)
