"""Two OP-TEEs side by side: what each answers to the same calls.

    compare("op-tee.toml", rounds=1000)

Where the two have other numbers for the same thing (cookies, sessions), messages and answers have a
name for it. Nothing is asked that a TA would answer in its own way.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from struct import pack_into

import msgspec

from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee import message as wire
from ffabric.abi.optee.message import Command, Fmem, Param
from ffabric.abi.words import MASK32
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.optee.tas.ta import Params, TaSession, TrustedApp
from ffabric.lab.optee.forge import INVOKE_TESTS, MEMORY, MESSAGE, SESSION, Forged, forge
from ffabric.session.optee import BlockingDriver
from ffabric.session.system import System
from ffabric.system.booting.boot import boot
from ffabric.system.description.assemble import assemble
from ffabric.system.description.python import describe, vm
from ffabric.system.description.toml.system import read_draft
from ffabric.system.options.problems import Problems
from ffabric.system.spec import SP, SystemSpec

CLIENT = "client"
_BYTES = 0x2000
_MEMORY = 0x3000
_PATIENCE = 30
_SERVICES = (*abi.SERVICES, 4, 6, 0x7FFF_FFFF, abi.YIELDING | 2)
_UNKNOWN = (0x77, 0x5555)
_HANDLE_OFFSET = wire.FMEM.at().offsets["handle"]


class InvokeTests(TrustedApp):
    """Stands for the pseudo TA, as far as it is used: it does nothing and says so."""

    uuid = INVOKE_TESTS
    single_instance = True
    multi_session = True
    keep_alive = True

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """Nothing."""


class Difference(msgspec.Struct, frozen=True):
    """A call that was answered differently."""

    asked: Forged | tuple[int, ...]
    first: object
    second: object


def real(path: Path | str) -> SystemSpec:
    """The secure partitions of a system's file, and one VM to drive in the place of its own."""
    problems = Problems()
    draft = read_draft(Path(path), problems)
    partitions = [each for each in draft.partitions if each.kind == SP]
    client = msgspec.structs.replace(vm(CLIENT), where=CLIENT)
    return assemble(msgspec.structs.replace(draft, partitions=[*partitions, client]), problems)


def python(core: OpTee | None = None) -> SystemSpec:
    """A system with an OP-TEE core in Python, and the same VM."""
    return describe(sps=[core or OpTee(InvokeTests)], vms=[CLIENT])


class Side:
    """One of the two: its driver, a session, and two shared memories, one for messages."""

    def __init__(self, spec: SystemSpec) -> None:
        self.system = System(boot(spec))
        self.system.run()
        self.driver = BlockingDriver(self.system.vm(CLIENT).ffa)
        self.driver.probe()
        self.message = self.driver.allocate(_BYTES)
        memory = self.driver.allocate(_MEMORY)
        session = self.driver.open_session(INVOKE_TESTS)
        self._numbers = {MEMORY: memory.cookie, MESSAGE: self.message.cookie, SESSION: session}

    def close(self) -> None:
        """Give the system back."""
        self.system.close()

    def request(self, *words: int) -> tuple[int, ...]:
        """w3 to w7 of the response to a request."""
        endpoint = self.driver.found.endpoint
        answer = self.driver.ffa.direct_request(endpoint, *words, bits=32)
        return tuple(word & MASK32 for word in answer.payload[:5])

    def answer(self, forged: Forged) -> object:
        """What a message is answered with: registers, result and origin, and the parameters."""
        data = self._bytes(forged)
        self.message.write(bytes(_BYTES))
        self.message.write(data[: max(0, _BYTES - forged.offset)], min(forged.offset, _BYTES))
        low, high = self.message.cookie & MASK32, self.message.cookie >> 32
        words = self.request(abi.YIELDING_CALL_WITH_ARG, low, high, forged.offset)
        for _ in range(_PATIENCE):
            if words[0] or words[1] == abi.Return.DONE:
                break
            words = self.request(abi.YIELDING_CALL_RESUME, 0, 0, 0, words[4])
        left = self.message.read(at=forged.offset)[: len(data)] if forged.offset < _BYTES else b""
        if len(left) < wire.HEADER_SIZE:
            return words
        header = wire.parse_header(left[: wire.HEADER_SIZE - 4] + bytes(4))
        opened = forged.command == Command.OPEN_SESSION and header.session and not header.ret
        if opened and not words[0]:
            self.driver.close_session(header.session)
        params = self._named(forged, left[wire.HEADER_SIZE :])
        return words[:4], bool(opened), header.ret, header.ret_origin, params

    def _named(self, forged: Forged, params: bytes) -> bytes:
        """The parameters of an answer, this side's cookies replaced by their names."""
        data = bytearray(params)
        for index, param in enumerate(forged.params):
            at = index * wire.PARAM_SIZE + _HANDLE_OFFSET
            if isinstance(param, Fmem) and param.handle in self._numbers and at + 8 <= len(data):
                pack_into("<q", data, at, param.handle)
        return bytes(data)

    def _bytes(self, forged: Forged) -> bytes:
        session = self._numbers.get(forged.session, forged.session)
        params = b"".join(wire.build_param(self._own(each)) for each in forged.params)
        message = wire.Message(forged.command, forged.function, session, 3, 0x1234, 9)
        head = bytearray(wire.build_message(message))
        pack_into("<I", head, wire.HEADER_SIZE - 4, forged.count)
        return bytes(head) + params

    def _own(self, param: Param) -> Param:
        if isinstance(param, Fmem):
            handle = self._numbers.get(param.handle, param.handle)
            return msgspec.structs.replace(param, handle=handle)
        return param


def compare(
    system: Path | str, core: OpTee | None = None, *, rounds: int = 1000, seed: int = 0
) -> list[Difference]:
    """Ask a real OP-TEE and the core in Python the same. Returns what they answer differently.

    ``system`` is the path of a TOML file that has the real one as its secure partition. ``core``
    is the core in Python, by default with a stand-in for the TA of OP-TEE's own tests. Each of
    ``rounds`` sends a forged message, and calls a service with random parameters.
    """
    return differences(real(system), python(core), rounds=rounds, seed=seed)


compare.__module__ = "ffabric.optee"


def differences(
    first: SystemSpec, second: SystemSpec, *, rounds: int, seed: int = 0
) -> list[Difference]:
    """Ask both `rounds` times with a forged message, and once more for a service."""
    random = Random(seed)  # noqa: S311 - to be the same again
    sides = Side(first), Side(second)
    found: list[Difference] = []
    try:
        for _ in range(rounds):
            forged = forge(random)
            one, other = (side.answer(forged) for side in sides)
            if one != other:
                found.append(Difference(forged, one, other))
            words = (random.choice(_SERVICES), random.choice(_UNKNOWN), 0, 0, random.randrange(9))
            one, other = (side.request(*words) for side in sides)
            if one != other:
                found.append(Difference(words, one, other))
    finally:
        for side in sides:
            side.close()
    return found
