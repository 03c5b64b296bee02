"""A VM that gives OP-TEE a page list with a page of somebody else in it."""

from __future__ import annotations

from collections.abc import Callable

from ffabric.abi.optee import message as wire
from ffabric.abi.optee import smc
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.ffa import Ffa
from ffabric.guests.partition import Partition


class Forger(Partition):
    """Registers two pages of its own, then the same with ``foreign`` in the place of the second.

    ``on_end`` is called when `answers` has what OP-TEE's ABI has returned in a0 for the two.
    """

    name = "mallory"

    def __init__(self, foreign: int, on_end: Callable[[], object]) -> None:
        super().__init__()
        self.answers: list[int] = []
        self._foreign = foreign
        self._on_end = on_end

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
            self.answers.append(answer[0] & MASK32 or ret)
        self._on_end()
