"""Shadows of the messages between a VM and OP-TEE, in the hypervisor's own memory.

OP-TEE never reads a message where the VM could change it: the mediator copies it once, replaces
every address by the physical one, and gives OP-TEE the copy. Every page that is named, those of
the message, of page lists and of buffers, must be the VM's own. What OP-TEE may answer is copied
back field by field.

A page that OP-TEE may use is *pinned*: it cannot be sent to another endpoint, whose it would not be
alone. It is for one call; or, registered or given for OP-TEE to keep, until its reference ends.

A buffer that is contiguous for the VM need not be so in physical memory: it becomes a page list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ffabric.abi.errors import DecodeError
from ffabric.abi.optee import message as abi
from ffabric.abi.optee import rpc
from ffabric.abi.words import PAGE, pages_for
from ffabric.firmware.hypervisor.optee import rules
from ffabric.firmware.state import ownership
from ffabric.firmware.state.rules import Refused, refuse
from ffabric.machine.translation.descriptors import (
    ADDRESS,
    MEMATTR_MASK,
    MEMATTR_NORMAL_WB,
    S2AP_R,
    S2AP_W,
    VALID,
)
from ffabric.machine.translation.pages import NoPages

if TYPE_CHECKING:
    from ffabric.firmware.state.endpoints import Vm
    from ffabric.machine.memory import PhysicalMemory
    from ffabric.machine.translation.pages import PagePool


MAX_BUFFER_PAGES = 1 << 14
"""Pages of one buffer: 64 MiB."""
MAX_PINS = 1 << 17
"""Pages of one VM that OP-TEE may use at a time, each as often as it is named: 512 MiB."""
MAX_KEPT = 1 << 12
"""References of one VM under which OP-TEE may keep memory, however little."""
MAX_PAGES = 256
"""Pages that the shadows of one VM's messages and page lists may take."""
_NEEDED = VALID | S2AP_R | S2AP_W
_OUTPUT_VALUES = (abi.Type.VALUE_OUTPUT, abi.Type.VALUE_INOUT)
_OUTPUT_BUFFERS = (
    abi.Type.FMEM_OUTPUT,
    abi.Type.FMEM_INOUT,
    abi.Type.TMEM_OUTPUT,
    abi.Type.TMEM_INOUT,
)
_TMEMS = (abi.Type.TMEM_INPUT, abi.Type.TMEM_OUTPUT, abi.Type.TMEM_INOUT)


class Guest:
    """The memory of a VM as its mediator reaches it, and the pages that it takes for shadows."""

    def __init__(self, vm: Vm, memory: PhysicalMemory, pool: PagePool) -> None:
        self.vm = vm
        self.pages = 0
        self.pins = 0
        """Pages that are pinned, each as often as it is."""
        self.kept: dict[int, list[int]] = {}
        """Reference of memory that OP-TEE keeps -> its pages."""
        self.offsets: dict[int, int] = {}
        """Reference -> where the memory begins in its first page."""
        self.promised: set[int] = set()
        """References of memory that calls under way let OP-TEE keep."""
        self._memory = memory
        self._pool = pool

    def physical(self, ipa: int) -> int:
        """The physical address of ``ipa``; refused if its page is not for OP-TEE to use."""
        pa = self.find(ipa)
        if pa is None:
            stage2 = self.vm.stage2
            held = stage2.translate(ipa) if stage2 is not None and not ipa >> stage2.ipa_bits else 0
            refuse(rules.ADDRESS, got=(ipa, ownership.name(held)), expected="OWNED RW")
        return pa

    def find(self, ipa: int) -> int | None:
        """The physical address of ``ipa``; None if its page is not for OP-TEE to use."""
        stage2 = self.vm.stage2
        if stage2 is None or ipa >> stage2.ipa_bits:
            return None
        leaf = stage2.translate(ipa)
        usable = leaf & _NEEDED == _NEEDED and leaf & MEMATTR_MASK == MEMATTR_NORMAL_WB
        if not usable or ownership.state(leaf) is not ownership.OWNED:
            return None
        return leaf & ADDRESS | ipa & PAGE - 1

    def read(self, ipa: int, size: int) -> bytes:
        """Bytes that lie in one page."""
        return self._memory.read(self.physical(ipa), size, secure=False)

    def write(self, ipa: int, data: bytes) -> None:
        """Write bytes that lie in one page, if it is still the VM's."""
        pa = self.find(ipa)
        if pa is not None:
            self._memory.write(pa, data, secure=False)

    def take(self) -> int:
        """A page for a shadow."""
        if self.pages >= MAX_PAGES:
            refuse(rules.PAGES, got=self.pages + 1, expected=MAX_PAGES)
        page = self._pool.alloc()
        self.pages += 1
        return page

    def free(self, pages: Sequence[int]) -> None:
        """Give pages of shadows back."""
        for page in pages:
            self._pool.free(page)
        self.pages -= len(pages)

    def pin(self, pages: Sequence[int]) -> None:
        """From now on OP-TEE may use pages of the VM, named by their IPA."""
        if self.pins + len(pages) > MAX_PINS:
            refuse(rules.PINNED, got=self.pins + len(pages), expected=f"up to {MAX_PINS}")
        self.pins += len(pages)
        pinned = self.vm.pinned
        for ipa in pages:
            pinned[ipa] = pinned.get(ipa, 0) + 1

    def unpin(self, pages: Sequence[int]) -> None:
        """It does not use them any more."""
        self.pins -= len(pages)
        pinned = self.vm.pinned
        for ipa in pages:
            left = pinned.pop(ipa) - 1
            if left:
                pinned[ipa] = left

    def judge_reference(self, reference: int) -> None:
        """Refuse a reference that stands for something already, or is one too many.

        One of a call under way does: of two memories with one reference OP-TEE would forget one,
        and the mediator might take it for the other.
        """
        count = len(self.kept) + len(self.promised)
        if count >= MAX_KEPT:
            refuse(rules.PINNED, got=count + 1, expected=f"up to {MAX_KEPT} references")
        if reference in self.kept or reference in self.promised:
            refuse(rules.REFERENCE, got=reference, expected=f"none of {count}")

    def end(self, reference: int) -> None:
        """OP-TEE does not keep the memory with this reference any more."""
        self.unpin(self.kept.pop(reference, ()))
        self.offsets.pop(reference, None)

    def keep(self, reference: int, pages: list[int], offset: int) -> None:
        """OP-TEE keeps memory, whose pages are pinned, under a reference."""
        self.kept[reference] = pages
        self.offsets[reference] = offset

    def put(self, pa: int, data: bytes) -> None:
        """Write into a shadow."""
        self._memory.write(pa, data, secure=False)

    def got(self, pa: int, size: int) -> bytes:
        """Read from a shadow."""
        return self._memory.read(pa, size, secure=False)


class Shadow:
    """A message of the VM at ``ipa``, and its copy at ``page`` with ``lists`` of its buffers."""

    def __init__(self, guest: Guest, ipa: int) -> None:
        self.guest = guest
        self.ipa = ipa
        self.page = guest.take()
        self.lists: list[int] = []
        self.types: list[int] = []
        """Type of each parameter, as it was given to OP-TEE."""
        self.pinned: list[int] = []
        """Pages of its buffers (IPA)."""
        self.keeps: int | None = None
        """The reference of the memory that OP-TEE is to keep."""
        self.offset = 0
        """Where that begins in its first page."""
        self.ends: int | None = None
        """The reference of the memory that it is to keep no longer."""

    def release(self) -> None:
        """Give its pages back."""
        self.guest.unpin(self.pinned)
        self.pinned = []
        if self.keeps is not None:
            self.guest.promised.discard(self.keeps)
        self.guest.free([self.page, *self.lists])
        self.lists = []

    def release_lists(self) -> None:
        """OP-TEE has read the page lists."""
        self.guest.free(self.lists)
        self.lists = []

    def fill(self) -> None:
        """Copy the VM's message, translated."""
        room = PAGE - self.ipa % PAGE
        if room < abi.HEADER_SIZE or self.ipa % 8:
            refuse(rules.EXTENT, got=self.ipa, expected="a multiple of 8, a header before the end")
        message = parsed(self.guest.read(self.ipa, room))
        self._note(message)
        message.params = [self.translated(param) for param in message.params]
        self.types = [param.attributes & abi.TYPE_MASK for param in message.params]
        self.guest.put(self.page, abi.build_message(message))

    def _note(self, message: abi.Message) -> None:
        """Memory is registered, or unregistered."""
        first = message.params[0] if message.params else None
        if message.command == abi.Command.REGISTER_SHM and isinstance(first, abi.Tmem):
            self.guest.judge_reference(first.reference)
            self.keeps = first.reference
            self.guest.promised.add(first.reference)
            self.offset = first.address % PAGE
        elif message.command == abi.Command.UNREGISTER_SHM and isinstance(first, abi.Rmem):
            self.ends = first.reference

    def succeeded(self) -> None:
        """OP-TEE has done what was asked for."""
        if self.keeps is not None:
            self.guest.keep(self.keeps, self.pinned, self.offset)
            self.pinned = []
        if self.ends is not None:
            self.guest.end(self.ends)

    def translated(self, param: abi.Param) -> abi.Param:
        """A parameter with physical addresses."""
        if not isinstance(param, abi.Tmem) or not (param.address or param.size):
            return param
        pages = self._pages_of(param)
        offset = param.address % PAGE
        adjoining = all(pa == pages[0] + n * PAGE for n, pa in enumerate(pages))
        if adjoining and not param.attributes & abi.NONCONTIG:
            return abi.Tmem(param.attributes, pages[0] + offset, param.size, param.reference)
        count = max(1, -(-len(pages) // abi.LIST_ENTRIES))
        lists = [self._list_page() for _ in range(count)]
        for at, data in zip(lists, abi.build_page_list(pages, lists), strict=True):
            self.guest.put(at, data)
        attributes = param.attributes | abi.NONCONTIG
        return abi.Tmem(attributes, lists[0] + offset, param.size, param.reference)

    def _list_page(self) -> int:
        page = self.guest.take()
        self.lists.append(page)
        return page

    def _pages_of(self, param: abi.Tmem) -> list[int]:
        """The physical addresses of the pages of a buffer."""
        offset = param.address % PAGE
        count = pages_for(offset + param.size)
        if not 0 < count <= MAX_BUFFER_PAGES:
            refuse(rules.BUFFER, got=count, expected=f"1 to {MAX_BUFFER_PAGES} pages")
        first = param.address - offset
        if not param.attributes & abi.NONCONTIG:
            return self._pinned(range(first, first + count * PAGE, PAGE))
        found: list[int] = []
        while len(found) < count:
            data = self.guest.read(first, PAGE)
            try:
                entries, first = abi.parse_list_page(data, count - len(found))
            except DecodeError as error:
                refuse(rules.MESSAGE, got=str(error), expected="a page list")
            found += entries
        return self._pinned(found)

    def _pinned(self, pages: Sequence[int]) -> list[int]:
        """The physical addresses of pages, which OP-TEE may use from now on."""
        found = [*map(self.guest.physical, pages)]
        self.guest.pin(pages)
        self.pinned += pages
        return found

    def copy_back(self) -> None:
        """What OP-TEE has answered: session, result, output values and sizes; nothing else."""
        answer = self.guest.got(self.page, abi.message_size(len(self.types)))
        if not any(answer[abi.RET_OFFSET : abi.RET_OFFSET + 4]):
            self.succeeded()
        at = abi.SESSION_OFFSET
        self.guest.write(self.ipa + at, answer[at : at + 4])
        at = abi.RET_OFFSET
        self.guest.write(self.ipa + at, answer[at : at + 8])
        self._outputs(answer, self.guest.write, self.ipa)

    def _outputs(self, data: bytes, write: object, base: int) -> None:
        for index, kind in enumerate(self.types):
            start, end = output_of(index, kind)
            if end:
                write(base + start, data[start:end])  # type: ignore[operator]


class RpcShadow(Shadow):
    """A message of OP-TEE to the VM: OP-TEE writes it at ``page``, the VM reads it at ``ipa``."""

    def __init__(self, guest: Guest, ipa: int) -> None:
        super().__init__(guest, ipa)
        self.request: abi.Message | None = None

    def show(self) -> None:
        """Copy OP-TEE's request to the VM; no physical address is shown."""
        self.request = request = parsed(self.guest.got(self.page, PAGE))
        self.types = [param.attributes & abi.TYPE_MASK for param in request.params]
        if request.command == rpc.Command.SHM_FREE and request.params:
            freed = request.params[0]
            if isinstance(freed, abi.Value):
                self.guest.end(freed.b)
        hidden = [
            abi.Tmem(param.attributes, 0, param.size, param.reference)
            if isinstance(param, abi.Tmem)
            else param
            for param in request.params
        ]
        shown = abi.Message(
            request.command, request.function, request.session, request.cancel_id,
            request.ret, request.ret_origin, hidden,
        )  # fmt: skip
        self.guest.write(self.ipa, abi.build_message(shown))

    def answer(self, *, gives_memory: bool) -> None:
        """Copy the VM's answer to OP-TEE: result, output values and sizes.

        ``gives_memory``: if it succeeded, its first parameter is a buffer for OP-TEE.
        """
        if self.request is None:
            return
        size = abi.message_size(len(self.types))
        data = self.guest.read(self.ipa, size)
        at = abi.RET_OFFSET
        self.guest.put(self.page + at, data[at : at + 8])
        if not gives_memory:
            self._outputs(data, self.guest.put, self.page)
            return
        if any(data[at : at + 4]) or not self.types:
            return
        (given,) = parsed_params(data[abi.HEADER_SIZE :], 1)
        if not isinstance(given, abi.Tmem) or given.attributes & abi.TYPE_MASK not in _TMEMS:
            refuse(rules.MESSAGE, got=given.attributes, expected="a TMEM")
        self.guest.judge_reference(given.reference)
        try:
            param = abi.build_param(self.translated(given))
        except (Refused, NoPages):
            self.guest.unpin(self.pinned)
            self.pinned = []
            raise
        self.guest.keep(given.reference, self.pinned, given.address % PAGE)
        self.pinned = []
        self.guest.put(self.page + abi.HEADER_SIZE, param)


def parsed(data: bytes) -> abi.Message:
    """A message, or a refusal."""
    try:
        return abi.parse_message(data, registered=True)
    except DecodeError as error:
        refuse(rules.MESSAGE, got=str(error), expected="a message")


def parsed_params(data: bytes, count: int) -> list[abi.Param]:
    """Parameters, or a refusal."""
    try:
        return abi.parse_params(data, count, registered=True)
    except DecodeError as error:
        refuse(rules.MESSAGE, got=str(error), expected="parameters")


def output_of(index: int, kind: int) -> tuple[int, int]:
    """Where in a message the answer to a parameter of type ``kind`` is; (0, 0): there is none."""
    base = abi.HEADER_SIZE + index * abi.PARAM_SIZE
    if kind in _OUTPUT_VALUES:
        return base + abi.VALUES_OFFSET, base + abi.PARAM_SIZE
    if kind in _OUTPUT_BUFFERS:
        return base + abi.SIZE_OFFSET, base + abi.SIZE_OFFSET + 8
    return 0, 0
