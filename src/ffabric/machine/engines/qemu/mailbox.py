"""The memory between a CPU in QEMU and its runner: calls, answers, starts, interrupts.

The other side is `shim.inc`; the offsets stand in `mailbox.inc`, too. All fields are 64-bit words,
each written by one side alone: the shim writes READY, DISTRIBUTOR, REQUEST, KIND, TICKS, STARTED,
INTERRUPTED, ASLEEP, TAIL, NOTIFIED, SERVED, FLUSHED, FLUSHED_ALL, TOUCH_TAIL, what an abort or a
crash says, x0-x17 of an exit, and the others (REST) of an access that may be to a device; the
runner writes the others (of INJECT and RELOAD the shim takes what it finds), x0-x17 of the answer,
and the register of such an access. A sequence number is written after what it announces, and either
side only asks whether it is equal to one it knows, so that a stale or forged one makes a CPU wait,
never a peer.

The words that the two sides look at while they wait share a line of the host's caches. Each store
there takes the line from who looks, so of an exit that line has REQUEST alone, and of an answer
RESUME and ANSWER.

What belongs to all CPUs is at the start; the blocks of the CPUs follow from `BLOCKS` on.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence

from ffabric.abi.words import MASK64
from ffabric.machine.engines.qemu.exchange.choice import exchange
from ffabric.machine.engines.qemu.exchange.interpreted import (
    ANSWER_AT,
    ASLEEP_AT,
    KIND_AT,
    REQUEST_AT,
    RESUME_AT,
    TICKS_AT,
    WORD,
    X_AT,
)

ALIVE = 0x00
PATIENCE = 0x08
SPIN = 0x10
AWAKE = 0x18
GONE = 0x20
READY = 0x40
IMAGE = 0x48
IMAGE_AT = 0x50
IMAGE_SIZE = 0x58
NOTIFICATION = 0x60
FLUSH = 0x68
FLUSHED_ALL = 0x70
DISTRIBUTOR = 0x78
TOUCH_HEAD = 0x80
TOUCH_TAIL = 0x88
TOUCH_LOCK = 0x90
BLOCKS = 0x1000
BLOCK_SHIFT = 10
STUB = 0x6000
TOUCHES = 0x8000
TOUCH_MASK = 511

REQUEST, ANSWER = WORD * REQUEST_AT, WORD * ANSWER_AT
NOTIFIED = 0x10
IPA = 0x18
STARTED = 0x20
START = 0x28
ENTRY = 0x30
RESUME = WORD * RESUME_AT
LEVEL = 0x40
INTERRUPTED = 0x48
ASLEEP = WORD * ASLEEP_AT
TAIL = 0x58
HEAD = 0x60
SYNDROME = 0x68
FAULT = 0x70
PC = 0x78
X = WORD * X_AT
FOREIGN = 0x110
KIND, TICKS = WORD * KIND_AT, WORD * TICKS_AT
FLUSHED = 0x120
INJECT = 0x130
INJECT_FAR = 0x138
RING = 0x140
RING_MASK = 15
PREEMPT = 0x1C0
IDLES = 0x1C8
LINES = 0x1D0
AFFINITY = 0x1D8
SERVED = 0x1E0
REST = 0x1F0
RELOAD = 0x258

REGISTERS = 18
MAX_CPUS = 16
SIZE = 0x1_0000
"""Bytes of a mailbox."""

_STORE = struct.Struct(f"{REGISTERS}Q").pack_into
_VECTORS, _VECTOR = 16, 0x80
_SMC, _BRANCH_TO_SELF = 0xD400_0003, 0x1400_0000
_HAS_LPIS = 1 << 17  # GICD_TYPER.LPIS: Arm IHI 0069, 12.9.38
_HPFAR_FIPA = 0xFF_FFFF_FFFF  # bits 43:4; QEMU 10 has others there


def _at(register: int) -> int:
    """The word of a block that a general register of an exit is in."""
    return X // WORD + register if register < REGISTERS else REST // WORD + register - REGISTERS


class Mailbox:
    """What all CPUs share: a view of ``SIZE`` bytes as 64-bit words."""

    def __init__(self, words: memoryview) -> None:
        self.words = words

    def setup(self, *, patience: int, spin: int, gone: Sequence[int]) -> None:
        """How long CPUs wait, in ticks of the system counter, and what calls return in the end.

        ``patience``: without a sign of life; ``spin``: before they sleep. ``gone``: up to four
        registers.
        """
        self.words[PATIENCE // WORD] = patience
        self.words[SPIN // WORD] = spin
        self.words[AWAKE // WORD] = 1
        for index, value in enumerate(gone):
            self.words[GONE // WORD + index] = value

    def load(self, source: int, target: int, size: int) -> None:
        """Before its CPUs start: what the first one copies from ``source`` to ``target``."""
        words = (source, target, size)
        self.words[IMAGE // WORD : IMAGE_SIZE // WORD + 1] = memoryview(array("Q", words))

    def watch(self, intid: int) -> None:
        """Count how often SPI ``intid`` becomes pending in QEMU's GIC; see `Block.notified`."""
        self.words[NOTIFICATION // WORD] = intid

    def confine(self) -> None:
        """Write the vectors of EL2: vector ``n`` is ``smc #n``, and nothing comes back to it."""
        for n in range(_VECTORS):
            word = _BRANCH_TO_SELF << 32 | _SMC | n << 5
            self.words[(STUB + n * _VECTOR) // WORD] = word

    @property
    def has_lpis(self) -> bool:
        """Whether its GIC reads and writes tables wherever a guest says, past stage 2."""
        return bool(self.words[DISTRIBUTOR // WORD] & _HAS_LPIS)

    def count_flush(self) -> int:
        """Let every CPU invalidate its TLB before it enters the guest; the number of this time."""
        wanted = self.words[FLUSH // WORD] = self.words[FLUSH // WORD] + 1 & MASK64
        return int(wanted)

    @property
    def flushed(self) -> int:
        """Up to which time one CPU has invalidated for all that execute."""
        return int(self.words[FLUSHED_ALL // WORD])

    def touch(self, pa: int, size: int) -> bool:
        """Let QEMU forget code of ``size`` bytes (whole words) at ``pa``; False: no room now."""
        words = self.words
        head = words[TOUCH_HEAD // WORD]
        if head - words[TOUCH_TAIL // WORD] & MASK64 > TOUCH_MASK:
            return False
        at = TOUCHES // WORD + 2 * (head & TOUCH_MASK)
        words[at], words[at + 1] = pa, size
        words[TOUCH_HEAD // WORD] = head + 1 & MASK64
        return True

    @property
    def ready(self) -> bool:
        """Whether a CPU waits to be started."""
        return bool(self.words[READY // WORD])

    def attend(self, *, awake: bool, spin: int) -> None:
        """Whether CPUs need not ring, and how long they look before they sleep; a sign of life."""
        self.words[SPIN // WORD] = spin
        self.words[ALIVE // WORD] = self.words[ALIVE // WORD] + 1 & MASK64
        self.words[AWAKE // WORD] = awake

    def block(self, cpu: int, wake: Callable[[int], object]) -> Block:
        """The block of one CPU; ``wake`` rings the doorbell of the CPU with that number."""
        at = (BLOCKS + (cpu << BLOCK_SHIFT)) // WORD
        return Block(self.words[at : at + (1 << BLOCK_SHIFT) // WORD], cpu, wake)


class Block:
    """One CPU as its runner sees it."""

    def __init__(self, words: memoryview, cpu: int, wake: Callable[[int], object]) -> None:
        self.words = words
        self.exchange = exchange(words)
        """Sees its exits, reads its calls and writes the answers."""
        self._bytes = words.cast("B")
        self.cpu = cpu
        self._wake = wake
        self._backlog: list[int] = []
        self._notified = 0

    @property
    def asks(self) -> bool:
        """Whether it has made an exit that has no answer yet."""
        words = self.words
        return words[REQUEST_AT] != words[ANSWER_AT]

    @property
    def executes(self) -> bool:
        """Whether it may be executing the guest: it was started and waits for no answer."""
        words = self.words
        return bool(words[START // WORD]) and words[REQUEST_AT] == words[ANSWER_AT]

    @property
    def exits(self) -> int:
        """How many exits it has made."""
        return int(self.words[REQUEST // WORD])

    @property
    def interrupted(self) -> bool:
        """Whether a CPU that waits for its answer has interrupts of its own to take."""
        return bool(self.words[INTERRUPTED // WORD])

    @property
    def crash(self) -> tuple[int, int, int]:
        """What it crashed of: ESR, FAR and the address of the instruction."""
        words = self.words
        return words[SYNDROME // WORD], words[FAULT // WORD], words[PC // WORD]

    @property
    def fault_page(self) -> int:
        """The intermediate physical address of the page whose translation failed."""
        return (self.words[IPA // WORD] >> 4 & _HPFAR_FIPA) << 12

    @property
    def served(self) -> int:
        """How often it has heard the doorbell while it executed the guest."""
        return int(self.words[SERVED // WORD])

    def answer(self, x: list[int], resume: int = 0) -> None:
        """Let its call return with ``x`` in x0 to x17, or go on at the address ``resume``.

        ValueError if ``x`` has what no register holds: then it goes on waiting.
        """
        if self.exchange.answer(x, resume):
            self.wake()

    def wake(self) -> None:
        """Ring for it."""
        self._wake(self.cpu)

    def register(self, number: int) -> int:
        """x0 to x30 of an access that was aborted, whose syndrome says that it is this one."""
        return self.words[_at(number)]

    def set_register(self, number: int, value: int) -> None:
        """What that register holds when it goes on."""
        self.words[_at(number)] = value
        self.words[RELOAD // WORD] = 1

    def resume(self, resume: int = 0) -> None:
        """Let it go on after an exit that was no call, with the registers it had; or elsewhere."""
        words = self.words
        words[RESUME_AT] = resume
        words[ANSWER_AT] = words[REQUEST_AT]
        if words[ASLEEP_AT]:
            self._wake(self.cpu)

    def inject(self, syndrome: int, far: int) -> None:
        """Let EL1 take an abort when it goes on: ESR_EL1 and FAR_EL1."""
        self.words[INJECT_FAR // WORD] = far
        self.words[INJECT // WORD] = syndrome

    def preempt(self, *, wanted: bool) -> None:
        """Whether it is to make a SLICE exit as soon as it hears the doorbell."""
        self.words[PREEMPT // WORD] = wanted
        if wanted:
            self._wake(self.cpu)

    def idles(self, *, wanted: bool) -> None:
        """Whether WFI is an exit, from its next entry on."""
        if self.words[IDLES // WORD] != wanted:
            self.words[IDLES // WORD] = wanted
            if wanted and self.executes:
                self._wake(self.cpu)

    def line(self, bit: int, *, asserted: bool) -> None:
        """Assert a virtual interrupt, a bit of HCR_EL2, or take it back, at its next entry."""
        lines = self.words[LINES // WORD]
        if bool(lines & bit) != asserted:
            self.words[LINES // WORD] = lines ^ bit
            if self.executes:
                self._wake(self.cpu)

    def affinity(self, mpidr: int) -> None:
        """What a confined CPU reads as its MPIDR_EL1, from its next start on."""
        self.words[AFFINITY // WORD] = mpidr

    def start(self, entry: int, x: Sequence[int], level: int) -> None:
        """Start it at address ``entry`` of exception level ``level``; a call of it is dropped.

        ``x``: x0 to x17, all other registers are 0.
        """
        words = self.words
        words[ENTRY // WORD] = entry
        words[LEVEL // WORD] = level
        _STORE(self._bytes, X, *x)
        words[ANSWER_AT] = words[REQUEST_AT]
        words[START // WORD] = words[START // WORD] + 1 & MASK64
        self._wake(self.cpu)

    def foreign(self, *, pending: bool) -> None:
        """Whether a trusted OS has to make way for interrupts that are not its own."""
        self.words[FOREIGN // WORD] = pending
        if pending:
            self._wake(self.cpu)

    def notified(self) -> bool:
        """Whether the SPI that is watched was pending since the last time, at an exit."""
        before, self._notified = self._notified, self.words[NOTIFIED // WORD]
        return before != self._notified

    def pend(self, intid: int) -> None:
        """Make interrupt ``intid`` pending in its GIC, as soon as it looks at its ring."""
        self._backlog.append(intid)
        self.flush()

    def flush(self) -> None:
        """Put into the ring what had no room yet."""
        words = self.words
        pushed = False
        while self._backlog:
            head = words[HEAD // WORD]
            if head - words[TAIL // WORD] & MASK64 > RING_MASK:
                break
            words[RING // WORD + (head & RING_MASK)] = self._backlog.pop(0)
            words[HEAD // WORD] = head + 1 & MASK64
            pushed = True
        if pushed:
            self._wake(self.cpu)
