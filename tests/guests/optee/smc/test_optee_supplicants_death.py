"""A tee-supplicant dies at every third RPC of a scenario: OP-TEE, its VM and the others go on.

It is that of a VM called alice. Linux's driver answers what the supplicant served with
TEEC_ERROR_COMMUNICATION until there is another one; what the kernel serves itself it still serves.
"""

from uuid import UUID

import pytest

from ffabric.abi.optee import message as m
from ffabric.abi.optee import rpc
from ffabric.abi.optee.message import Type, Value
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.threads import State
from ffabric.lab.xtest.apps.storage import Command as Store
from ffabric.lab.xtest.apps.storage import StorageApp
from ffabric.system.description.python import trusted_os, vm
from smc_client import Client

SERVED = {rpc.Command.LOAD_TA, rpc.Command.FS, rpc.Command.RPMB}
RPCS = 36
"""As many for the supplicant as the scenario makes, at least."""
READ, WRITE, WRITE_META, OVERWRITE = 1, 2, 4, 0x400


class Mortal(Client):
    """A client whose supplicant dies at its RPC number ``dies``; `restart` starts another one."""

    def __init__(self, handle, files, dies=None):
        super().__init__(handle, files)
        self.asked = 0
        self.dies = dies
        serve = self.supplicant.serve

        def served(command, params, given):
            if command in SERVED:
                self.asked += 1
            if self.dies is not None and self.asked >= self.dies:
                raise TeeError(Result.COMMUNICATION)
            return serve(command, params, given)

        self.supplicant.serve = served  # type: ignore[method-assign]

    def restart(self):
        self.dies = None


class Notes:
    """A session of a client, which keeps notes in the storage of the TA."""

    def __init__(self, client):
        self.client = client
        self.name, self.data = client.pages(), client.pages(2)
        self.session = client.open(UUID(StorageApp.uuid))

    def keep(self, name, text):
        at = self._named(name)
        self.client.memory.write(self.data, text)
        made = self._invoke(
            Store.CREATE, at, Value(Type.VALUE_INOUT, READ | WRITE | WRITE_META | OVERWRITE),
            Value(Type.VALUE_INPUT, 0, 1), m.Tmem(Type.TMEM_INPUT, self.data, len(text)),
        )  # fmt: skip
        self._invoke(Store.CLOSE, Value(Type.VALUE_INPUT, made[1].b))

    def read(self, name, size):
        opened = self._open(name, READ)
        self._invoke(Store.READ, m.Tmem(Type.TMEM_OUTPUT, self.data, size), opened)
        self._invoke(Store.CLOSE, Value(Type.VALUE_INPUT, opened.a))
        return self.client.memory.read(self.data, size)

    def drop(self, name):
        opened = self._open(name, READ | WRITE_META)
        self._invoke(Store.UNLINK, Value(Type.VALUE_INPUT, opened.a))

    def close(self):
        assert self.client.close(self.session) == Result.SUCCESS

    def _open(self, name, flags):
        opened = self._invoke(
            Store.OPEN, self._named(name), Value(Type.VALUE_INOUT, flags),
            Value(Type.VALUE_INPUT, 1),
        )  # fmt: skip
        return Value(Type.VALUE_INOUT, opened[1].b)

    def _named(self, name):
        self.client.memory.write(self.name, name)
        return m.Tmem(Type.TMEM_INPUT, self.name, len(name))

    def _invoke(self, command, *params):
        return self.client.invoke(self.session, command, *params)


def scenario(client):
    """What alice does: each step may fail. The notes that she knows to be there, by name."""
    known = {}
    notes = Notes(client)
    for n in range(3):
        name, text = b"note%d" % n, b"%d" % n * 5000
        try:
            notes.keep(name, text)
        except TeeError:
            continue
        known[name] = text
        for step in (lambda name=name: notes.read(name, 5000), lambda: notes.drop(b"note0")):
            try:
                step()
            except TeeError:
                continue
        known.pop(b"note0", None)
    notes.close()
    return known


@pytest.mark.parametrize("dies", range(1, RPCS, 3))
def test_others_and_the_next_supplicant_go_on(ffabric, dies):
    pytest.importorskip("cryptography")
    core = OpTee.below_el3(StorageApp, vms=2)
    session = ffabric.boot(
        vms=[vm(each, mem_size=16 << 20) for each in ("alice", "bob")],
        trusted_os=trusted_os(core, vcpus=2),
        pes=2,
    )
    session.system.run()
    alice, bob = (Mortal(session.vm(each), {}) for each in ("alice", "bob"))
    bobs = Notes(bob)
    bobs.keep(b"bobs", b"own")
    scenario(alice)
    bank = core.banks[alice.handle.id]
    before = bank.heap.used
    alice.asked, alice.dies = 0, dies
    known = scenario(alice)
    assert alice.asked >= dies
    assert bobs.read(b"bobs", 3) == b"own"
    alice.restart()
    again = Notes(alice)
    for name, text in known.items():
        assert again.read(name, 5000) == text
    again.keep(b"last", b"word")
    assert again.read(b"last", 4) == b"word"
    again.close()
    assert alice.given == {}
    assert {each.state for each in bank.threads.all} == {State.FREE}
    assert bank.heap.used == before
