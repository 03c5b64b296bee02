"""Why a virtual CPU stopped executing: the number an engine hands to its trap.

The first three are the AArch64 exception-generating calls (Arm ARM DDI 0487, C6.2); their x0-x17
are in ``Context.x``. The others leave ``Context.x`` as a view of the registers: nothing that is
written there is loaded back.
"""

SMC = 0
"""SMC executed; the answer is loaded from ``Context.x``."""

HVC = 1
"""HVC executed; the answer is loaded from ``Context.x``."""

SVC = 2
"""SVC executed by a partition that has no EL1 of its own; the answer comes from ``Context.x``."""

ABORT = 3
"""A stage-2 translation or permission fault, described by ``Context.fault``; resuming retries."""

IDLE = 4
"""WFI executed, or its equivalent, with no interrupt line asserted; resuming goes on after it."""

SLICE = 5
"""The instruction budget is used up, or somebody asked the engine to stop (``Runner.kick``)."""

CRASH = 6
"""The context cannot go on; ``Context.crash`` says why. It must be started again."""

SYSREG = 7
"""A system register access that an engine leaves to its caller."""

NAMES = ("SMC", "HVC", "SVC", "ABORT", "IDLE", "SLICE", "CRASH", "SYSREG")
"""The name of each exit, indexed by its number."""

CALLS = frozenset((SMC, HVC, SVC))
"""The exits that are calls: they are answered through ``Context.x``."""
