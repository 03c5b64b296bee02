"""RPCs of OP-TEE that the mediator serves itself: those for the Replay Protected Memory Block.

The VM never sees them: it has no such device, and could withhold or replay what it is asked to pass
on. The frames are in memory that the VM has given OP-TEE, since all memory for RPCs is; frames of
others than OP-TEE are worth nothing without the key.

An OP-TEE that is to program the key (CFG_RPMB_WRITE_KEY), or that was answered that there is no
probing, asks with the older RPC that tee-supplicant serves: it has a header before the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ffabric.abi import rpmb
from ffabric.abi.optee import message as abi
from ffabric.abi.optee import rpc
from ffabric.abi.optee.tee import Origin, Result
from ffabric.abi.words import PAGE
from ffabric.firmware.hypervisor.optee.rpmb import Part, RpmbFailed, SharedRpmb

if TYPE_CHECKING:
    from ffabric.firmware.hypervisor.optee.client import Client
    from ffabric.firmware.hypervisor.optee.shadow import Guest

EMMC: Final = 0
"""The kind of device (OPTEE_RPC_RPMB_EMMC)."""
RELIABLE_WRITE: Final = 1
"""Sectors of 512 bytes that are written at once or not at all (EXT_CSD[222])."""
MOST: Final = 1 << 18
"""Bytes of frames in a request, or in its answer."""


class _Failed(Exception):  # noqa: N818 - an answer
    """What OP-TEE is answered."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


class OwnRpcs:
    """What the mediator serves: ``shared`` among its clients."""

    def __init__(self, shared: SharedRpmb) -> None:
        self.shared = shared

    def serve(self, client: Client, request: abi.Message) -> abi.Message | None:
        """The answer to an RPC; None if it is the VM's to serve."""
        work = _SERVED.get(request.command)
        if work is None:
            return None
        try:
            params = work(self, client, list(request.params))
        except _Failed as failed:
            return replace(request, ret=failed.result, ret_origin=Origin.COMMS)
        except RpmbFailed:
            return replace(request, ret=Result.GENERIC, ret_origin=Origin.COMMS)
        return replace(request, ret=Result.SUCCESS, ret_origin=Origin.COMMS, params=params)

    def _reset(self, client: Client, params: list[abi.Param]) -> list[abi.Param]:
        """RPMB_PROBE_RESET: which memory is for frames."""
        _value(params, 0)
        client.probed = False
        return [abi.Value(abi.Type.VALUE_OUTPUT, rpc.ShmType.KERNEL)]

    def _next(self, client: Client, params: list[abi.Param]) -> list[abi.Param]:
        """RPMB_PROBE_NEXT: there is one device, if there is a part for the VM."""
        _value(params, 0)
        part = self.shared.part_of(client.guest.vm.name)
        if client.probed or part is None:
            raise _Failed(Result.ITEM_NOT_FOUND)
        told = _answer(client.guest, params, 1, part.cid)
        client.probed = True
        units = part.blocks // rpmb.UNIT
        return [abi.Value(abi.Type.VALUE_OUTPUT, EMMC, units, RELIABLE_WRITE), told]

    def _frames(self, client: Client, params: list[abi.Param]) -> list[abi.Param]:
        """RPMB_FRAMES."""
        part, data, room = self._asked(client, params)
        answer = part.request(data, room // rpmb.FRAME)
        return [params[0], _answer(client.guest, params, 1, answer)]

    def _with_header(self, client: Client, params: list[abi.Param]) -> list[abi.Param]:
        """RPMB: frames, or which device it is; there is number 0 alone."""
        part, data, room = self._asked(client, params)
        if len(data) < rpc.RPMB_REQUEST.size:
            raise _Failed(Result.BAD_PARAMETERS)
        what, device, _ = rpc.RPMB_REQUEST.unpack_from(data)
        if device:
            raise _Failed(Result.ITEM_NOT_FOUND)
        if what == rpc.RPMB_DEVICE_INFO:
            units = part.blocks // rpmb.UNIT
            answer = rpc.RPMB_DEVICE.pack(part.cid, units, RELIABLE_WRITE, 0)
        elif what == rpc.RPMB_DATA:
            answer = part.request(data[rpc.RPMB_REQUEST.size :], room // rpmb.FRAME)
        else:
            raise _Failed(Result.BAD_PARAMETERS)
        return [params[0], _answer(client.guest, params, 1, answer)]

    def _asked(self, client: Client, params: list[abi.Param]) -> tuple[Part, bytes, int]:
        """Whose part is asked for what, and how many bytes there are for the answer."""
        part = self.shared.part_of(client.guest.vm.name)
        if part is None:
            raise _Failed(Result.ITEM_NOT_FOUND)
        request, room = _memory(params, 0), _memory(params, 1)
        if max(request.size, room.size) > MOST:
            raise _Failed(Result.BAD_PARAMETERS)
        data = b"".join(
            client.guest.read(ipa, count)
            for ipa, count in _pieces(client.guest, request, request.size)
        )
        return part, data, room.size


_SERVED: Final[dict[int, Callable[[OwnRpcs, Client, list[abi.Param]], list[abi.Param]]]] = {
    rpc.Command.RPMB: OwnRpcs._with_header,
    rpc.Command.RPMB_PROBE_RESET: OwnRpcs._reset,
    rpc.Command.RPMB_PROBE_NEXT: OwnRpcs._next,
    rpc.Command.RPMB_FRAMES: OwnRpcs._frames,
}

Memory = abi.Rmem | abi.Tmem


def _value(params: list[abi.Param], index: int) -> None:
    if index >= len(params) or not isinstance(params[index], abi.Value):
        raise _Failed(Result.BAD_PARAMETERS)


def _memory(params: list[abi.Param], index: int) -> Memory:
    param = params[index] if index < len(params) else None
    if not isinstance(param, Memory):
        raise _Failed(Result.BAD_PARAMETERS)
    return param


def _answer(guest: Guest, params: list[abi.Param], index: int, data: bytes) -> Memory:
    """Put data where a parameter wants it, if it fits: the parameter with its size."""
    param = _memory(params, index)
    if len(data) > param.size:
        raise _Failed(Result.SHORT_BUFFER)
    done = 0
    for ipa, count in _pieces(guest, param, len(data)):
        guest.write(ipa, data[done : done + count])
        done += count
    return replace(param, size=len(data))


def _pieces(guest: Guest, param: Memory, size: int) -> Iterator[tuple[int, int]]:
    """The IPAs and bytes, each in one page, of the beginning of a parameter's memory."""
    pages = guest.kept.get(param.reference)
    if pages is None or size > param.size:
        raise _Failed(Result.BAD_PARAMETERS)
    at = guest.offsets[param.reference] + _offset_in(guest, param, pages)
    while size:
        if not 0 <= at // PAGE < len(pages):
            raise _Failed(Result.BAD_PARAMETERS)
        count = min(size, PAGE - at % PAGE)
        yield pages[at // PAGE] + at % PAGE, count
        at += count
        size -= count


def _offset_in(guest: Guest, param: Memory, pages: list[int]) -> int:
    """Where a parameter begins in the memory of its reference; a TMEM has a physical address."""
    if isinstance(param, abi.Rmem):
        return param.offset
    for number, page in enumerate(pages):
        if guest.find(page) == param.address & -PAGE:
            return number * PAGE + param.address % PAGE - guest.offsets[param.reference]
    raise _Failed(Result.BAD_PARAMETERS)
