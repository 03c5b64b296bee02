"""The rules of donating, lending and sharing memory, most of them for each of the three.

What a sender writes is judged by them in `send.py`; some are of retrieve requests, too.
"""

from __future__ import annotations

from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import LATEST, V1_0
from ffabric.firmware.state.region import DONATE, LEND, SHARE, Kind
from ffabric.firmware.state.rules import Rule, rule

SECTION = "DEN0140 1.2, section 2.4"
_INVALID = Status.INVALID_PARAMETERS


def family(
    name: str,
    status: Status,
    section: str,
    text: str,
    kinds: tuple[Kind, ...] = (DONATE, LEND, SHARE),
    *,
    since: int = V1_0,
    until: int = LATEST,
    waivable: bool = False,
    optional: bool = False,
) -> dict[Kind | None, Rule]:
    """A rule for each of several kinds of transaction: ``mem.share.NAME``, ``mem.lend.NAME`` ..."""
    return {
        kind: rule(
            f"mem.{kind.name}.{name}",
            status,
            section,
            text,
            since=since,
            until=until,
            waivable=waivable,
            optional=optional,
        )
        for kind in kinds
    }


def with_retrieve(name: str, status: Status, section: str, text: str) -> dict[Kind | None, Rule]:
    """A family of which retrieve requests are members too (kind None)."""
    rules = family(name, status, section, text)
    rules[None] = rule(f"mem.retrieve.{name}", status, section, text)
    return rules


NO_BUFFER = with_retrieve("no_buffer", _INVALID, SECTION, "The caller has an RX/TX pair.")
DYNAMIC = with_retrieve(
    "dynamic_buffer",
    _INVALID,
    SECTION,
    "x3 and w4 are zero: only the TX buffer carries descriptors.",
)
LENGTH = with_retrieve(
    "length",
    _INVALID,
    SECTION,
    "The fragment fits TX, is not longer than the total, and both are multiples of 16.",
)
TOTAL = family(
    "total_length",
    _INVALID,
    SECTION,
    "The total length ends with the last declared address range.",
)
SENDER = family("sender", Status.DENIED, SECTION, "The sender in the descriptor calls.")
NO_RECEIVER = family("no_receiver", _INVALID, SECTION, "There is at least one receiver.")
RECEIVER_SELF = family("to_self", _INVALID, SECTION, "The sender is not a receiver.")
RECEIVER_TWICE = family("receiver_twice", _INVALID, SECTION, "No receiver is named twice.")
RECEIVER_UNKNOWN = family(
    "receiver_unknown", _INVALID, SECTION, "Each receiver is a known endpoint."
)
RECEIVER_WORLD = family(
    "receiver_world",
    Status.DENIED,
    "DEN0140 1.2, section 1.3",
    "An SP sends memory to SPs only.",
)
NO_SP = family(
    "to_vms_only",
    Status.DENIED,
    "DEN0140 1.2, section 1.3",
    "What the normal world tells the SPMC of is memory for an SP: VMs' among themselves is their "
    "hypervisor's.",
)
DONATE_MANY = rule(
    "mem.donate.receivers",
    _INVALID,
    "DEN0140 1.2, section 1.5",
    "Memory is donated to one receiver.",
)
COMPOSITE = family(
    "composite_offset",
    _INVALID,
    "DEN0140 1.2, table 1.16",
    "Each receiver refers to the one composite descriptor, on a 16-byte boundary.",
)
FLAGS = family(
    "flags",
    _INVALID,
    "DEN0140 1.2, table 1.22",
    "Reserved bits of the flags are zero.",
    waivable=True,
)
SHARE_CLEAR = rule(
    "mem.share.clear_flag",
    _INVALID,
    "DEN0140 1.2, table 1.22",
    "Shared memory is not cleared: its owner still uses it.",
    waivable=True,
)
RESERVED_PERMISSION = family(
    "permission_reserved",
    _INVALID,
    "DEN0140 1.2, table 1.14",
    "Data and instruction access have no reserved value; bits 7:4 are zero.",
)
INSTRUCTION = family(
    "instruction_access",
    _INVALID,
    "DEN0140 1.2, section 1.10.3",
    "The sender leaves instruction access unspecified.",
    waivable=True,
)
DATA_UNSPECIFIED = family(
    "data_access_unspecified",
    _INVALID,
    "DEN0140 1.2, section 1.10.3",
    "To lend or share, the sender says RO or RW.",
    (LEND, SHARE),
    waivable=True,
)
DONATE_DATA = rule(
    "mem.donate.data_access",
    _INVALID,
    "DEN0140 1.2, section 1.10.3",
    "To donate, the sender leaves data access unspecified.",
    waivable=True,
)
NS_BIT = family(
    "ns_bit",
    _INVALID,
    "DEN0140 1.2, table 1.18",
    "The security state attribute is zero in a request of the sender.",
    waivable=True,
)
TYPE = family(
    "type_specified",
    _INVALID,
    "DEN0140 1.2, section 1.10.4",
    "To donate, or to lend to one borrower, the sender leaves the memory type unspecified.",
    (DONATE, LEND),
    waivable=True,
)
ATTRIBUTES = family(
    "attributes",
    Status.DENIED,
    "DEN0140 1.2, section 1.10.4",
    "Shared memory is Normal, Inner Write-Back, Inner Shareable, or Device-nGnRnE.",
    (LEND, SHARE),
)
NO_ATTRIBUTES = family(
    "attributes_missing",
    Status.DENIED,
    "DEN0140 1.2, section 1.10.4",
    "To share, or to lend to several borrowers, the sender says what memory it is.",
    (LEND, SHARE),
    waivable=True,
)
HANDLE_MBZ = family(
    "handle_mbz",
    _INVALID,
    "DEN0140 1.2, table 1.20",
    "The sender's handle is zero.",
    waivable=True,
)
ALIGNMENT = family(
    "unaligned_base",
    _INVALID,
    "DEN0140 1.2, table 1.13",
    "Each address range starts on a page (4 KiB).",
)
EMPTY = family(
    "empty_range", _INVALID, "DEN0140 1.2, table 1.13", "Each range has at least one page."
)
RANGE_END = family(
    "range_end",
    _INVALID,
    "DEN0140 1.2, table 1.13",
    "Each range ends inside the sender's address space.",
)
OVERLAP = family(
    "overlapping_constituents",
    _INVALID,
    "DEN0140 1.2, section 1.10.1",
    "Address ranges do not overlap.",
)
PAGES = family(
    "page_count",
    _INVALID,
    "DEN0140 1.2, table 1.12",
    "The total page count is the sum over the ranges.",
)
OWNED = family(
    "not_owned",
    Status.DENIED,
    "DEN0140 1.2, section 1.4",
    "The sender owns each page and has exclusive access to it.",
)
UNIFORM = family(
    "mixed_attributes",
    Status.DENIED,
    "DEN0140 1.2, section 1.4",
    "All pages have the same permissions.",
    waivable=True,
)
KIND_OF_MEMORY = family(
    "mixed_memory",
    Status.DENIED,
    "DEN0140 1.2, section 1.4",
    "All pages have the same memory type, shareability and security state.",
)
PERMISSION = family(
    "permission",
    Status.DENIED,
    "DEN0140 1.2, section 1.10.3",
    "The sender gives no more access than it has.",
)
CLEAR_RO = family(
    "clear_read_only",
    Status.DENIED,
    "DEN0140 1.2, table 1.22",
    "Only memory that the sender may write is cleared.",
    (DONATE, LEND),
)
DEVICE = family(
    "device",
    Status.DENIED,
    "DEN0140 1.2, section 1.10.4",
    "Device memory is lent, to one borrower, and not cleared.",
)
