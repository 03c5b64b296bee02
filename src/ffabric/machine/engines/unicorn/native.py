"""Unicorn's C interface, as directly as Python can call it.

The binding that comes with Unicorn builds objects for each register it moves, which costs many
times what the call itself does. Here registers move through memory that is allocated once
(`Registers`), and hooks are called with plain numbers.

ctypes swallows what is raised before the first line of a hook: the interpreter runs the handlers of
signals where a function begins, so that Ctrl-C and time-outs would get lost. `Emulator.run` keeps
such an exception in `Emulator.lost`, and ends.

Unicorn exposes neither the syndrome of an exception nor how many instructions of a run have been
executed, nor the interrupt lines of its processor. All three stand at fixed places of its own
structures, which `layout.find` finds once per process, so that no offset is written down here.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
import weakref
from collections.abc import Generator
from ctypes import POINTER, c_int, c_int64, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from typing import NamedTuple

from ffabric.abi.words import PAGE
from ffabric.machine.engines.unicorn.package import arm, library, uc

InterruptHook = ctypes.CFUNCTYPE(None, c_void_p, c_uint32, c_void_p)
"""(engine, exception number, user)"""

SystemHook = ctypes.CFUNCTYPE(c_uint32, c_void_p, c_int, POINTER(c_uint32), c_void_p)
"""(engine, general register, words of CRn CRm op0 op1 op2 - and the value, user) -> handled"""


CodeHook = ctypes.CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_void_p)
"""(engine, address, size, user), before an instruction or a block executes"""

AccessHook = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_uint64, c_int, c_int64, c_void_p)
"""(engine, kind of access, address, size, value, user), before a load or store"""


class Block(ctypes.Structure):
    """A block of code that was translated (uc_tb): its address, instructions and bytes."""

    _fields_ = (("pc", c_uint64), ("instructions", c_uint16), ("size", c_uint16))


TranslatedHook = ctypes.CFUNCTYPE(None, c_void_p, POINTER(Block), POINTER(Block), c_void_p)
"""(engine, the new block, the one before it, user)"""
HOOK_TRANSLATED = uc.UC_HOOK_EDGE_GENERATED

MmioRead = ctypes.CFUNCTYPE(c_uint64, c_void_p, c_uint64, c_uint32, c_void_p)
"""(engine, offset, size, user) -> value"""

MmioWrite = ctypes.CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_uint64, c_void_p)
"""(engine, offset, size, value, user)"""

SystemRegister = tuple[int, int, int, int, int]
"""op0, op1, CRn, CRm, op2: in the order of the architecture's S3_0_C1_C0_0."""

MODELS = {
    "cortex-a53": arm.UC_CPU_ARM64_A53,
    "cortex-a57": arm.UC_CPU_ARM64_A57,
    "cortex-a72": arm.UC_CPU_ARM64_A72,
    "max": arm.UC_CPU_ARM64_MAX,
}
"""The processors that Unicorn knows, by the names that QEMU gives them."""

UNMAPPED = {
    uc.UC_ERR_READ_UNMAPPED: "read",
    uc.UC_ERR_WRITE_UNMAPPED: "write",
    uc.UC_ERR_FETCH_UNMAPPED: "fetch",
}
"""The results of `Emulator.run` that mean: nothing is at the physical address."""

INTERRUPT_LINES = {"IRQ": 1 << 1, "FIQ": 1 << 4, "vIRQ": 1 << 6}
"""The bits of `Emulator.interrupts`: QEMU's CPU_INTERRUPT_HARD, and its TGT_EXT_1 and 2."""

_OF_A_HOOK = "ctypes callback function"  # in what Python says of an exception that it swallows
_CODE_BUFFER = 64 << 20  # bytes for translated code: address space, paid for when used
_CP_WORDS = 4  # 64-bit words of uc_arm64_cp_reg, the last of them the value

_library = library()
_slow = ctypes.CDLL(_library)  # lets other threads run meanwhile
_fast = ctypes.PyDLL(_library)
_emu_start = _slow.uc_emu_start
_emu_start.argtypes = (c_void_p, c_uint64, c_uint64, c_uint64, c_size_t)
_emu_stop = _fast.uc_emu_stop
_emu_stop.argtypes = (c_void_p,)
_reg_read = _fast.uc_reg_read
_reg_read.argtypes = (c_void_p, c_int, c_void_p)
_reg_write = _fast.uc_reg_write
_reg_write.argtypes = (c_void_p, c_int, c_void_p)
_read_batch = _fast.uc_reg_read_batch  # the hot ones: called with ready C objects only
_write_batch = _fast.uc_reg_write_batch
_context_save = _fast.uc_context_save
_context_save.argtypes = (c_void_p, c_void_p)
_context_size = _fast.uc_context_size
_context_size.argtypes = (c_void_p,)
_context_size.restype = c_size_t
_mem_map = _fast.uc_mem_map
_mem_map.argtypes = (c_void_p, c_uint64, c_size_t, c_uint32)
_mem_write = _fast.uc_mem_write
_mem_write.argtypes = (c_void_p, c_uint64, c_void_p, c_size_t)
_map_ptr = _fast.uc_mem_map_ptr
_map_ptr.argtypes = (c_void_p, c_uint64, c_size_t, c_uint32, c_void_p)
_mmio_map = _fast.uc_mmio_map
_mmio_map.argtypes = (c_void_p, c_uint64, c_size_t, MmioRead, c_void_p, MmioWrite, c_void_p)
_vmem_translate = _fast.uc_vmem_translate
_vmem_translate.argtypes = (c_void_p, c_uint64, c_int, c_void_p)
_vmem_read = _fast.uc_vmem_read
_vmem_read.argtypes = (c_void_p, c_uint64, c_int, c_void_p, c_size_t)
_strerror = _fast.uc_strerror
_strerror.argtypes = (c_int,)
_strerror.restype = ctypes.c_char_p


def addresses() -> tuple[int, ...]:
    """Of what reads and writes registers, starts and stops: for a caller that is not Python."""
    functions = (_read_batch, _write_batch, _emu_start, _emu_stop)
    return tuple(ctypes.cast(each, c_void_p).value or 0 for each in functions)


class UnicornError(RuntimeError):
    """Unicorn refused a call, or is not built as this module expects."""


class Layout(NamedTuple):
    """Where Unicorn keeps what it does not expose.

    `counter`: byte offset in uc_struct of the instruction counter, with the limit behind it;
    `exception`: byte offset in a saved context of syndrome, -, address (64 bits), target level;
    `processor`: byte offset in uc_struct of the pointer to the processor's structure;
    `interrupts`: byte offset there of the word that holds its interrupt lines.
    """

    counter: int
    exception: int
    processor: int
    interrupts: int


@functools.lru_cache(maxsize=256)
def _batch(registers: tuple[int | SystemRegister, ...]) -> tuple[bytes, bytes, tuple[int, ...]]:
    """Memory of `Registers` as it begins: Unicorn's numbers, the values, and their places there."""
    stride = 1 if all(isinstance(register, int) for register in registers) else _CP_WORDS
    ids = []
    places = []
    values = bytearray(8 * stride * len(registers))
    for n, register in enumerate(registers):
        if isinstance(register, int):
            ids.append(register)
            places.append(n * stride)
        else:
            ids.append(arm.UC_ARM64_REG_CP_REG)
            places.append(n * stride + 3)
            op0, op1, crn, crm, op2 = register
            struct.pack_into("<5I", values, 8 * stride * n, crn, crm, op0, op1, op2)
    return bytes((c_int * len(ids))(*ids)), bytes(values), tuple(places)


class Registers:
    """Registers that are read and written together, through memory allocated once.

    A register is a number of Unicorn's or a `SystemRegister`. ``words[place[i]]`` is the value of
    the i-th one; without system registers `place` is 0, 1, 2, ...
    """

    __slots__ = ("_keep", "ids", "place", "read", "words", "write")

    def __init__(self, handle: c_void_p, *registers: int | SystemRegister) -> None:
        count = len(registers)
        ids, values, self.place = _batch(registers)
        data = (c_uint64 * (len(values) // 8)).from_buffer_copy(values)
        start, step = ctypes.addressof(data), len(values) // count
        pointers = (c_void_p * count)(*range(start, start + len(values), step))
        self.ids = (c_int * count).from_buffer_copy(ids)
        self.words = memoryview(data).cast("B").cast("Q")
        self._keep = pointers
        where = (ctypes.addressof(self.ids), ctypes.addressof(pointers))
        batch = (handle, *map(c_void_p, where), c_int(count))
        self.read = functools.partial(_read_batch, *batch)
        self.write = functools.partial(_write_batch, *batch)


class Vectors:
    """V0 to V31, FPCR and FPSR, read and written together; ``data`` holds them in this order."""

    __slots__ = ("_keep", "data", "read", "write")

    def __init__(self, handle: c_void_p) -> None:
        vectors = [arm.UC_ARM64_REG_Q0 + n for n in range(32)]
        registers = [*vectors, arm.UC_ARM64_REG_FPCR, arm.UC_ARM64_REG_FPSR]
        values = (c_uint64 * (2 * len(registers)))()
        start = ctypes.addressof(values)
        ids = (c_int * len(registers))(*registers)
        pointers = (c_void_p * len(registers))(*(start + 16 * n for n in range(len(registers))))
        self._keep = (ids, pointers)
        self.data = memoryview(values).cast("B")
        where = (ctypes.addressof(ids), ctypes.addressof(pointers))
        batch = (handle, *map(c_void_p, where), c_int(len(registers)))
        self.read = functools.partial(_read_batch, *batch)
        self.write = functools.partial(_write_batch, *batch)


class Emulator:
    """One Unicorn engine: an AArch64 processor with EL0 to EL3.

    `executed` and `limit` are the instruction counter of the present run and its end, both alive:
    a run ends before the instruction that would exceed ``limit.value``, and lowering it from a
    hook ends the run sooner. `executed` counts an instruction when it begins. `stop` ends the run
    from a hook; `close` frees the engine, while the memory stays with who mapped it. `lost` has
    the exceptions that no hook could handle, to be raised after the run: during one, `on_lost` is
    what Python calls for them, and for all others `former` what it called before.

    `interrupts` are the lines of the processor, a bit each (`INTERRUPT_LINES`): while one is
    raised, the processor takes the interrupt by itself where the architecture does, as HCR_EL2
    and SCR_EL3 route it. It looks at them between two blocks of code, that is after every
    exception, ERET, write to DAIF and ISB; not in the middle of a run of plain instructions.
    """

    def __init__(self, model: str, found: Layout) -> None:
        self.handle = c_void_p()
        _check("uc_open", _fast.uc_open(uc.UC_ARCH_ARM64, uc.UC_MODE_ARM, _ref(self.handle)))
        self._keep: list[object] = []
        self._context = c_void_p()
        self._control(uc.UC_CTL_CPU_MODEL, MODELS[model])
        self._control(uc.UC_CTL_TCG_BUFFER_SIZE, _CODE_BUFFER)
        self._control(uc.UC_CTL_UC_USE_EXITS, 1)  # and none is set: address 0 is like any other
        _check("uc_context_alloc", _fast.uc_context_alloc(self.handle, _ref(self._context)))
        self.address = _address(self.handle)
        """The host address of its uc_struct."""
        counter = self.address + found.counter
        self.executed = c_size_t.from_address(counter)
        self.limit = c_size_t.from_address(counter + ctypes.sizeof(c_size_t))
        processor = c_void_p.from_address(self.address + found.processor).value or 0
        self.interrupts = c_uint32.from_address(processor + found.interrupts)
        self._exception = (c_uint32 * 5).from_address(_address(self._context) + found.exception)
        self._value = c_uint64()
        self._value_at = ctypes.addressof(self._value)
        self._instruction = c_uint32()
        self.stop = functools.partial(_emu_stop, self.handle)
        self.lost: list[BaseException] = []
        losses = self._losses()
        next(losses)
        self.on_lost = losses.send
        self.close = weakref.finalize(self, _close, self.handle, self._context)

    def run(self, pc: int, limit: int) -> int:
        """Execute from `pc` on, at most `limit` instructions: 0, or an error of Unicorn."""
        former = self.former = sys.unraisablehook
        sys.unraisablehook = self.on_lost
        try:
            return int(_emu_start(self.handle, pc, 0, 0, limit))
        finally:
            sys.unraisablehook = former

    def _losses(self) -> Generator[None, sys.UnraisableHookArgs, None]:
        """Take what Python cannot raise during a run; what is of no hook goes to the former taker.

        A generator, because it goes on inside ``try``: a signal that comes here, too, is not lost.
        """
        while True:
            try:
                found = yield
                if found.exc_value is not None and _OF_A_HOOK in (found.err_msg or ""):
                    self.lost.append(found.exc_value)
                    self.stop()
                else:
                    self.former(found)
            except GeneratorExit:
                return
            except BaseException as error:  # noqa: BLE001 - raised again outside the emulator
                self.lost.append(error)
                self.stop()

    # Memory

    def map_memory(self, base: int, size: int, host: int) -> None:
        """Map `size` bytes at host address `host` as RAM at physical address `base`."""
        _check(f"memory at {base:#x}", _map_ptr(self.handle, base, size, uc.UC_PROT_ALL, host))

    def map_code(self, base: int, code: bytes) -> None:
        """Map a page of RAM of its own at physical address `base`, which begins with `code`."""
        _check("code", _mem_map(self.handle, base, PAGE, uc.UC_PROT_ALL))
        _check("code", _mem_write(self.handle, base, code, len(code)))

    def map_device(self, base: int, size: int, read: object, write: object) -> None:
        """Call `read` (`MmioRead`) and `write` for accesses; their user argument is `base`."""
        error = _mmio_map(self.handle, base, size, read, base, write, base)
        _check(f"device at {base:#x}", error)
        self._keep += (read, write)

    def instruction(self, va: int) -> int | None:
        """The instruction at a virtual address, in the present translation regime."""
        at = ctypes.addressof(self._instruction)
        if va & 3 or _vmem_read(self.handle, va, uc.UC_PROT_EXEC, at, 4):
            return None
        return self._instruction.value

    def fetched_from(self, va: int) -> int | None:
        """The physical address that an instruction at `va` is fetched from at present."""
        if _vmem_translate(self.handle, va, uc.UC_PROT_EXEC, self._value_at):
            return None
        return self._value.value

    def reached_at(self, va: int) -> int | None:
        """The physical address that a load from `va` reads at present."""
        if _vmem_translate(self.handle, va, uc.UC_PROT_READ, self._value_at):
            return None
        return self._value.value

    # Hooks

    def hook_between(self, kind: int, callback: object, first: int, last: int) -> c_size_t:
        """Install a hook (`CodeHook`, `AccessHook`) for some addresses: what `unhook` takes.

        Code that was translated before does not know it: `flush_code`. Not from a hook.
        """
        installed = c_size_t()
        between = (c_uint64(first), c_uint64(last))
        error = _fast.uc_hook_add(self.handle, _ref(installed), kind, callback, None, *between)
        _check(f"hook {kind}", error)
        self._keep.append(callback)
        return installed

    def unhook(self, installed: c_size_t) -> None:
        """Take a hook away."""
        _check("unhook", _fast.uc_hook_del(self.handle, installed))

    def hook(
        self, kind: int, callback: object, instruction: int = 0, *, user: object = None
    ) -> None:
        """Install a hook for all addresses (UC_HOOK_INTR, or UC_HOOK_INSN of an instruction)."""
        installed = c_size_t()
        everywhere = (c_uint64(1), c_uint64(0))
        error = _fast.uc_hook_add(
            self.handle, _ref(installed), kind, callback, user, *everywhere, instruction
        )
        _check(f"hook {kind}", error)
        self._keep.append((callback, user))

    # Registers

    def read(self, register: int) -> int:
        """The value of a register, by Unicorn's number for it."""
        self._value.value = 0
        _reg_read(self.handle, register, self._value_at)
        return self._value.value

    def write(self, register: int, value: int) -> None:
        """Set a register, by Unicorn's number for it."""
        self._value.value = value
        _reg_write(self.handle, register, self._value_at)

    def read_system(self, register: SystemRegister) -> int:
        """The value of a system register, without its side effects."""
        (value,) = self.read_systems(register)
        return value

    def read_systems(self, *registers: SystemRegister) -> list[int]:
        """The values of system registers, without their side effects."""
        batch = Registers(self.handle, *registers)
        batch.read()
        return [batch.words[place] for place in batch.place]

    def write_system(self, register: SystemRegister, value: int) -> None:
        """Set a system register; Unicorn then also notices what was changed in PSTATE."""
        self.write_all((register, value))

    def write_all(self, *values: tuple[int | SystemRegister, int]) -> None:
        """Set registers in this order, each by Unicorn's number for it or a system register."""
        batch = Registers(self.handle, *(register for register, _ in values))
        for place, (_, value) in zip(batch.place, values, strict=True):
            batch.words[place] = value
        batch.write()

    def exception(self) -> tuple[int, int, int]:
        """The syndrome (ESR_ELx form), address and target level of the last exception."""
        _context_save(self.handle, self._context)
        syndrome, _, low, high, target = self._exception
        return syndrome, high << 32 | low, target

    def context(self) -> bytes:
        """All that Unicorn saves of the processor's state."""
        _context_save(self.handle, self._context)
        return ctypes.string_at(_address(self._context), _context_size(self.handle))

    # Caches

    def flush_tlb(self) -> None:
        """Forget all translations of addresses."""
        self._control(uc.UC_CTL_TLB_FLUSH)

    def flush_code(self) -> None:
        """Forget all translated code. Not from a hook of an instruction."""
        self._control(uc.UC_CTL_TB_FLUSH)

    def _control(self, what: int, *arguments: int) -> None:
        code = what | len(arguments) << 26 | uc.UC_CTL_IO_WRITE << 30
        _check(f"uc_ctl {what}", _fast.uc_ctl(self.handle, code, *arguments))


def _close(handle: c_void_p, context: c_void_p) -> None:
    _fast.uc_context_free(context)
    _fast.uc_close(handle)


def _ref(value: object) -> object:
    return ctypes.byref(value)  # type: ignore[arg-type]


def _address(pointer: c_void_p) -> int:
    assert pointer.value is not None
    return pointer.value


def _check(what: str, error: int) -> None:
    if error:
        raise UnicornError(f"{what}: {_strerror(error).decode()}")
