"""Reserved registers: what a call does not define is refused, or reported and read as zero.

The table of `ffabric.abi.ffa.call_layouts` says for each call and version which bits must be zero
(MBZ) and which should be (SBZ). A manager judges both for every call, before its handler sees the
registers: MBZ is refused. SBZ is traced and cut, for software in the field leaves stale values
there (Linux, pKVM); a strict system refuses it, too. A handler therefore finds nothing in x1 to x7
but what the call defines, and what a manager passes on has nothing else either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.registers import Reserved
from ffabric.abi.ffa.reserved import defined, judged
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_1, V1_2
from ffabric.firmware.state.rules import RULES, Rule, refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.state.interface.conventions import Conventions

_INVALID: Final = Status.INVALID_PARAMETERS

MBZ = rule(
    "abi.reserved_registers_mbz",
    _INVALID,
    "DEN0077A 1.2, chapters 12 to 18; DEN0140 1.2, chapter 2",
    "What the table of the call's registers reserves as MBZ in the caller's version is zero.",
    waivable=True,
)
SBZ = rule(
    "abi.reserved_registers_sbz",
    _INVALID,
    "DEN0077A 1.2, chapters 12 to 18; DEN0140 1.2, chapter 2",
    "In a strict system, what the table of the call's registers reserves as SBZ is zero, too.",
    since=V1_1,
    optional=True,
)

rule(
    "wait.flags_mbz",
    _INVALID,
    "DEN0077A 1.2, table 14.4",
    "Reserved bits of the flags in w2 are zero.",
    since=V1_2,
    waivable=True,
)
rule(
    "yield.mbz",
    _INVALID,
    "DEN0077A 1.2, section 14.3",
    "w1 and w4 to w7 are zero.",
    waivable=True,
)
rule(
    "rxtx.unmap.id",
    _INVALID,
    "DEN0077A 1.2, table 13.29",
    "Bits 31:16 of w1 are zero at a virtual FF-A instance.",
    waivable=True,
)
rule(
    "rx.release.id",
    _INVALID,
    "DEN0077A 1.2, table 13.21",
    "Bits 15:0 of w1 are zero at a virtual FF-A instance.",
    waivable=True,
)
rule(
    "discovery.flags_mbz",
    _INVALID,
    "DEN0077A 1.2, section 13.8",
    "Bits 31:1 of the flags in w5 are zero.",
    since=V1_1,
    waivable=True,
)
rule(
    "notification.bind.flags_mbz",
    _INVALID,
    "DEN0077A 1.2, section 16.3",
    "Bits 31:1 of the flags are zero.",
    since=V1_1,
)
rule(
    "notification.unbind.mbz",
    _INVALID,
    "DEN0077A 1.2, section 16.4",
    "w2 is zero.",
    since=V1_1,
)
rule("mem.reclaim.flags", _INVALID, "DEN0140 1.2, table 2.29", "Reserved flags are zero.")

_OWN_RULES: Final[dict[tuple[str, int], str]] = {
    ("FFA_MSG_WAIT", 2): "wait.flags_mbz",
    **{("FFA_YIELD", register): "yield.mbz" for register in (1, 4, 5, 6, 7)},
    ("FFA_RXTX_MAP", 3): "rxtx.map.page_count",
    ("FFA_RXTX_UNMAP", 1): "rxtx.unmap.id",
    ("FFA_RX_RELEASE", 1): "rx.release.id",
    ("FFA_PARTITION_INFO_GET", 5): "discovery.flags_mbz",
    ("FFA_MSG_SEND2", 2): "message.flags_mbz",
    ("FFA_MSG_SEND_DIRECT_REQ", 2): "direct.req.flags_mbz",
    ("FFA_MSG_SEND_DIRECT_RESP", 2): "direct.resp.flags_mbz",
    ("FFA_NOTIFICATION_BIND", 2): "notification.bind.flags_mbz",
    ("FFA_NOTIFICATION_UNBIND", 2): "notification.unbind.mbz",
    ("FFA_NOTIFICATION_SET", 2): "notification.set.flags_mbz",
    ("FFA_NOTIFICATION_GET", 2): "notification.get.flags_mbz",
    ("FFA_MEM_RECLAIM", 3): "mem.reclaim.flags",
    ("FFA_MEM_PERM_SET", 3): "mem.perm.reserved",
    ("FFA_MEM_FRAG_RX", 4): "mem.frag.endpoint",
    ("FFA_MEM_FRAG_TX", 4): "mem.frag.endpoint",
}
"""Call and register -> the rule that speaks of its MBZ bits, where `MBZ` does not."""
_LENIENT: Final = frozenset({fid.FFA_VERSION, fid.FFA_ERROR, fid.FFA_ERROR_64})
"""Calls whose MBZ bits count as SBZ: the first one comes before any version has been agreed on."""
_NEVER_REFUSED: Final = frozenset({fid.FFA_ERROR, fid.FFA_ERROR_64})
"""Its caller gives up: refused, a partition that reports each error would loop for ever."""


def clean(
    x: list[int],
    version: int,
    *,
    virtual: bool,
    conventions: Conventions,
    report: Callable[[Reserved, int], None] | None,
) -> None:
    """Judge the reserved bits of the call in `x`, and cut off x1 to x7 what it does not define.

    `virtual`: it is made at a virtual FF-A instance; `report` gets the SBZ bits that are not zero,
    with their value.
    """
    function = x[0]
    if function in fid.FUNCTIONS:
        for each in judged(function, version, virtual=virtual):
            value = x[each.register] & each.mask
            if value:
                _judge(function, version, each, value, conventions)
                if report is not None:
                    report(each, value)
    masks = defined(function, version, virtual=virtual)
    x[1:8] = [content & mask for content, mask in zip(x[1:8], masks, strict=True)]


def _judge(
    function: int, version: int, bits: Reserved, value: int, conventions: Conventions
) -> None:
    if function in _NEVER_REFUSED:
        return
    must = bits.rule == "MBZ" and function not in _LENIENT
    if must or conventions.wants(SBZ):
        known = fid.FUNCTIONS[function]
        broken = _rule(known.base_name, bits.register, version) if must else SBZ
        got = f"{bits.name} = {value:#x}"
        expected = f"{bits.name} & {bits.mask:#x} = 0 ({bits.rule} of {known.name})"
        if broken.waivable:
            conventions.refuse(broken, got=got, expected=expected)
        else:
            refuse(broken, got=got, expected=expected)


def _rule(call: str, register: int, version: int) -> Rule:
    own = _OWN_RULES.get((call, register))
    if own is None or own not in RULES:  # nobody has loaded what handles the call
        return MBZ
    return RULES[own] if RULES[own].holds(version) else MBZ
