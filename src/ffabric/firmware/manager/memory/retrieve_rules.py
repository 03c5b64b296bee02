"""The rules of FFA_MEM_RETRIEVE_REQ: what a borrower says is compared by them in `retrieve.py`."""

from __future__ import annotations

from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_2
from ffabric.firmware.state.rules import rule

SECTION = "DEN0140 1.2, section 2.7"
_INVALID = Status.INVALID_PARAMETERS
_DENIED = Status.DENIED

SENDER = rule("mem.retrieve.sender", _DENIED, SECTION, "The sender is the transaction's.")
BORROWER = rule("mem.retrieve.borrower", _INVALID, SECTION, "The caller is one of the receivers.")
OTHER_BORROWER = rule(
    "mem.retrieve.other_borrower",
    _DENIED,
    SECTION,
    "Every receiver in the request is one of the sender's.",
)
TYPE_FLAG = rule(
    "mem.retrieve.type",
    _INVALID,
    "DEN0140 1.2, table 1.23",
    "The transaction type, if given, is the sender's.",
    waivable=True,
)
TAG = rule("mem.retrieve.tag", _INVALID, SECTION, "The tag is the sender's.", waivable=True)
LENGTH = rule(
    "mem.retrieve.total_length",
    _INVALID,
    SECTION,
    "The request ends with its last receiver, in one piece.",
)
RECEIVERS = rule(
    "mem.retrieve.receivers",
    _INVALID,
    SECTION,
    "The receivers are those of the sender, or the caller alone with the bypass flag.",
)
FLAGS = rule(
    "mem.retrieve.flags",
    _INVALID,
    "DEN0140 1.2, table 1.23",
    "Reserved bits of the flags are zero.",
    waivable=True,
)
HINT = rule(
    "mem.retrieve.alignment_hint",
    _INVALID,
    "DEN0140 1.2, table 1.23",
    "No alignment hint is given; this relayer chooses the address.",
    waivable=True,
)
RANGES = rule(
    "mem.retrieve.address_ranges",
    _INVALID,
    "DEN0140 1.2, section 2.7",
    "No address ranges are given; this relayer chooses them.",
    waivable=True,
)
SHARE_CLEAR = rule(
    "mem.retrieve.share_clear",
    _INVALID,
    "DEN0140 1.2, table 1.23",
    "Shared memory is not cleared.",
    waivable=True,
)
CLEAR = rule(
    "mem.retrieve.clear",
    _DENIED,
    "DEN0140 1.2, table 1.23",
    "The memory is cleared for the borrower only if the sender cleared it too.",
)
CLEAR_RO = rule(
    "mem.retrieve.clear_read_only",
    _DENIED,
    "DEN0140 1.2, table 1.23",
    "A borrower with read-only access does not have the memory cleared.",
)
NS_BIT = rule(
    "mem.retrieve.ns_bit",
    _INVALID,
    "DEN0140 1.2, table 1.18",
    "The security state attribute is zero in a retrieve request.",
    waivable=True,
)
ATTRIBUTES = rule(
    "mem.retrieve.attributes",
    _DENIED,
    "DEN0140 1.2, section 1.10.4",
    "The memory type, if given, is Normal, Inner Write-Back, Inner Shareable, or Device-nGnRnE, "
    "and no more permissive than what was sent: a device, or what was sent as one, is not Normal.",
)
DATA = rule(
    "mem.retrieve.data_access",
    _DENIED,
    "DEN0140 1.2, section 1.10.3",
    "The borrower asks for no more data access than it was given.",
)
RESERVED_PERMISSION = rule(
    "mem.retrieve.permission_reserved",
    _INVALID,
    "DEN0140 1.2, table 1.14",
    "Data and instruction access have no reserved value.",
)
INSTRUCTION_GIVEN = rule(
    "mem.retrieve.instruction_access",
    _INVALID,
    "DEN0140 1.2, section 1.10.3",
    "Instruction access is left unspecified for shared memory and for several borrowers.",
    waivable=True,
)
INSTRUCTION_MISSING = rule(
    "mem.retrieve.instruction_access_missing",
    _INVALID,
    "DEN0140 1.2, section 1.10.3",
    "The only borrower of lent or donated memory says X or NX.",
    waivable=True,
)
EXECUTE_NS = rule(
    "mem.retrieve.execute_non_secure",
    _INVALID,
    "DEN0140 1.2, section 1.10.3",
    "An SP does not execute non-secure memory.",
)
IMPDEF = rule(
    "mem.retrieve.impdef",
    _INVALID,
    "DEN0140 1.2, table 1.16",
    "The implementation defined word is the sender's.",
    since=V1_2,
    waivable=True,
)
AGAIN = rule(
    "mem.retrieve.again", _DENIED, SECTION, "The borrower has not retrieved the memory already."
)
WRITE_EXECUTE = rule(
    "mem.retrieve.write_execute",
    _INVALID,
    "DEN0140 1.2, sections 1.10.3 and 2.11",
    "What an S-EL0 partition has is not writable and executable at once.",
)
NO_ROOM = rule(
    "mem.retrieve.no_address", _DENIED, SECTION, "The borrower's address space has room for it."
)
