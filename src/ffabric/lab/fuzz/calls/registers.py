"""Random calls by register: every function id of the Framework and around it, boundary values."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from ffabric.abi import hafnium, psci, smccc
from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import MASK32, PAGE, pack_ids

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor
    from ffabric.lab.oracle.accounts import Accounts

FFA_IDS = sorted(fid.FUNCTIONS)
NEIGHBOURS = [base | n for base in (0x8400_0000, 0xC400_0000) for n in range(0x5E, 0xF2)]
OTHERS = [
    psci.PSCI_VERSION,
    psci.PSCI_FEATURES,
    psci.CPU_ON_32,
    psci.CPU_ON_64,
    psci.AFFINITY_INFO_32,
    psci.AFFINITY_INFO_64,
    psci.MIGRATE_INFO_TYPE,
    smccc.SMCCC_VERSION,
    smccc.SMCCC_ARCH_FEATURES,
    hafnium.HF_INTERRUPT_ENABLE,
    hafnium.HF_INTERRUPT_GET,
    hafnium.HF_INTERRUPT_DEACTIVATE,
    hafnium.HF_INTERRUPT_RECONFIGURE,
    hafnium.HF_INTERRUPT_SEND_IPI,
    0,
    0x8000_0000,
    0xFFFF_FFFF,
    0xBE00_0000,
]
LAST = [
    fid.FFA_ERROR,
    psci.SYSTEM_OFF,
    psci.SYSTEM_RESET,
    psci.CPU_OFF,
    psci.CPU_SUSPEND_32,
    psci.CPU_SUSPEND_64,
]
"""Calls with which a partition ends or puts itself to sleep: made now and then only."""
RARELY = 0.0005

BOUNDARIES = [
    0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 48, 63, 64, 80, 96, 112, 0x7F, 0x80, 0xFF, 0x100,
    0xFFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1_0000, 0x1_0001, 0x8000_0000,
    0x7FFF_FFFF, 0xFFFF_F000, 0xFFFF_FFFF, 1 << 32, 1 << 39, (1 << 40) - PAGE, 1 << 40, 1 << 48,
    1 << 62, 1 << 63, (1 << 64) - PAGE, (1 << 64) - 1, 0xFFFF_FFFE, 0xFFFF_FFF0,
]  # fmt: skip


class Registers:
    """Random calls of one actor among others."""

    def __init__(self, random: Random, actor: Actor, ids: list[int], accounts: Accounts) -> None:
        self._random = random
        self._actor = actor
        self._accounts = accounts
        ids = [*ids, 0, 0x7ABC, 0x8000, 0x8ABC, 0xFFC0, 0xFFFF]
        self._values = [
            *BOUNDARIES,
            *ids,
            *(pack_ids(actor.id, each) for each in ids),
            *(pack_ids(each, actor.id) for each in ids),
            *(each << 16 for each in ids),
            *(actor.ram.base + n * PAGE for n in (0, 1, 2, 511, 512)),
            actor.ram.base + actor.ram.size,
            actor.ram.base + actor.ram.size - PAGE,
            actor.ram.base + actor.ram.size - 2 * PAGE,
        ]
        self._functions = [each for each in FFA_IDS if each not in LAST] * 3 + NEIGHBOURS + OTHERS
        self._functions = [each for each in self._functions if each not in LAST]

    def call(self) -> list[int]:
        """The registers of a call."""
        random = self._random
        pick = random.random
        function = random.choice(LAST if pick() < RARELY else self._functions)
        registers = [function, *(self._value() for _ in range(int(pick() * 8)))]
        if pick() < 0.05:
            registers[0] |= random.getrandbits(32) << 32
        return registers

    def _value(self) -> int:
        random = self._random
        kind = random.random()
        if kind < 0.75:
            return random.choice(self._values)
        if kind < 0.9:
            return self._handle() if self._accounts.transactions else random.getrandbits(6)
        return random.getrandbits(64 if kind < 0.95 else 32)

    def _handle(self) -> int:
        handle = self._random.choice([*self._accounts.transactions])
        return handle & MASK32 if self._random.random() < 0.8 else handle >> 32
