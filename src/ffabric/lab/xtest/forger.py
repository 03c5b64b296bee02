"""A VM that wants OP-TEE to use a page of somebody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from ffabric.abi.optee import message as wire
from ffabric.abi.optee import smc
from ffabric.abi.words import MASK32, PAGE
from ffabric.firmware.hypervisor.optee.rules import ADDRESS
from ffabric.guests.errors import FfaError
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition
from ffabric.lab.xtest.optee import OPTEE


class Forger(Partition):
    """Offers OP-TEE pages of its own, then a `foreign` one, whose physical address it knows.

    `on_end` is called when `answers` has in words what came of the two. They must be `expected`,
    the second by the `rule` of that id.
    """

    name = "mallory"
    expected: ClassVar[tuple[str, str]]
    rule: ClassVar[str]

    def __init__(self, foreign: int, on_end: Callable[[], object]) -> None:
        super().__init__()
        self.answers: list[str] = []
        self._foreign = foreign
        self._on_end = on_end


class SmcForger(Forger):
    """Registers two pages of its own, then the same with the foreign one for the second."""

    expected = ("OK", "EBADADDR")
    rule = ADDRESS.id

    async def on_boot(self, ffa: Ffa) -> None:
        """An honest attempt, and a forged one."""
        first, second, message, pages = (ffa.ram.allocate() for _ in range(4))
        for number, listed in enumerate(((first, second), (first, self._foreign)), 1):
            (data,) = wire.build_page_list(listed, [pages])
            ffa.memory.write(pages, data)
            shared = wire.Tmem(
                wire.Type.TMEM_OUTPUT | wire.NONCONTIG, pages, 2 * PAGE, reference=number
            )
            asked = wire.Message(wire.Command.REGISTER_SHM, params=[shared])
            ffa.memory.write(message, wire.build_message(asked))
            answer = await ffa.call(smc.CALL_WITH_ARG, message >> 32, message & MASK32)
            while answer[0] & MASK32 == smc.Rpc.FOREIGN_INTR:
                answer = await ffa.call(smc.RETURN_FROM_RPC, *answer[1:7])
            ret = wire.parse_header(ffa.memory.read(message, wire.HEADER_SIZE)).ret
            code = answer[0] & MASK32 or ret
            self.answers.append(smc.Return(code).name if code in {*smc.Return} else hex(code))
        self._on_end()


class FfaForger(Forger):
    """Shares a page of its own with OP-TEE, then the foreign one."""

    expected = ("OK", "DENIED")
    rule = "mem.share.not_owned"

    async def on_boot(self, ffa: Ffa) -> None:
        """An honest attempt, and a forged one."""
        for page in (ffa.ram.allocate(), self._foreign):
            try:
                await ffa.reclaim(await ffa.share(to=OPTEE, ipa=page))
            except FfaError as error:
                self.answers.append(error.status.name if error.status else str(error))
            else:
                self.answers.append("OK")
        self._on_end()
