"""Every FF-A function id of v1.0 to v1.3, and where and since when each is legal.

A name has a width suffix where the specification defines the call for both widths. FFA_ERROR,
FFA_INTERRUPT and the CPU cycle management calls became 64-bit only in v1.3; their older, 32-bit
ids keep the plain name.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from ffabric.abi.ffa.call_layouts import ARGS, RESULTS
from ffabric.abi.ffa.registers import Arg
from ffabric.abi.ffa.version import LATEST, V1_0, V1_1, V1_2, V1_3, format_version

FFA_ERROR: Final = 0x8400_0060
FFA_ERROR_64: Final = 0xC400_0060
FFA_SUCCESS_32: Final = 0x8400_0061
FFA_SUCCESS_64: Final = 0xC400_0061
FFA_INTERRUPT: Final = 0x8400_0062
FFA_INTERRUPT_64: Final = 0xC400_0062
FFA_VERSION: Final = 0x8400_0063
FFA_FEATURES: Final = 0x8400_0064
FFA_RX_RELEASE: Final = 0x8400_0065
FFA_RXTX_MAP_32: Final = 0x8400_0066
FFA_RXTX_MAP_64: Final = 0xC400_0066
FFA_RXTX_UNMAP: Final = 0x8400_0067
FFA_PARTITION_INFO_GET: Final = 0x8400_0068
FFA_ID_GET: Final = 0x8400_0069
FFA_MSG_POLL: Final = 0x8400_006A
FFA_MSG_WAIT: Final = 0x8400_006B
FFA_MSG_WAIT_64: Final = 0xC400_006B
FFA_YIELD: Final = 0x8400_006C
FFA_YIELD_64: Final = 0xC400_006C
FFA_RUN: Final = 0x8400_006D
FFA_RUN_64: Final = 0xC400_006D
FFA_MSG_SEND: Final = 0x8400_006E
FFA_MSG_SEND_DIRECT_REQ_32: Final = 0x8400_006F
FFA_MSG_SEND_DIRECT_REQ_64: Final = 0xC400_006F
FFA_MSG_SEND_DIRECT_RESP_32: Final = 0x8400_0070
FFA_MSG_SEND_DIRECT_RESP_64: Final = 0xC400_0070
FFA_MEM_DONATE_32: Final = 0x8400_0071
FFA_MEM_DONATE_64: Final = 0xC400_0071
FFA_MEM_LEND_32: Final = 0x8400_0072
FFA_MEM_LEND_64: Final = 0xC400_0072
FFA_MEM_SHARE_32: Final = 0x8400_0073
FFA_MEM_SHARE_64: Final = 0xC400_0073
FFA_MEM_RETRIEVE_REQ_32: Final = 0x8400_0074
FFA_MEM_RETRIEVE_REQ_64: Final = 0xC400_0074
FFA_MEM_RETRIEVE_RESP: Final = 0x8400_0075
FFA_MEM_RELINQUISH: Final = 0x8400_0076
FFA_MEM_RECLAIM: Final = 0x8400_0077
FFA_MEM_OP_PAUSE: Final = 0x8400_0078
FFA_MEM_OP_RESUME: Final = 0x8400_0079
FFA_MEM_FRAG_RX: Final = 0x8400_007A
FFA_MEM_FRAG_TX: Final = 0x8400_007B
FFA_NORMAL_WORLD_RESUME: Final = 0x8400_007C
FFA_NORMAL_WORLD_RESUME_64: Final = 0xC400_007C
FFA_NOTIFICATION_BITMAP_CREATE: Final = 0x8400_007D
FFA_NOTIFICATION_BITMAP_DESTROY: Final = 0x8400_007E
FFA_NOTIFICATION_BIND: Final = 0x8400_007F
FFA_NOTIFICATION_UNBIND: Final = 0x8400_0080
FFA_NOTIFICATION_SET: Final = 0x8400_0081
FFA_NOTIFICATION_GET: Final = 0x8400_0082
FFA_NOTIFICATION_INFO_GET_32: Final = 0x8400_0083
FFA_NOTIFICATION_INFO_GET_64: Final = 0xC400_0083
FFA_RX_ACQUIRE: Final = 0x8400_0084
FFA_SPM_ID_GET: Final = 0x8400_0085
FFA_MSG_SEND2: Final = 0x8400_0086
FFA_SECONDARY_EP_REGISTER_32: Final = 0x8400_0087
FFA_SECONDARY_EP_REGISTER_64: Final = 0xC400_0087
FFA_MEM_PERM_GET_32: Final = 0x8400_0088
FFA_MEM_PERM_GET_64: Final = 0xC400_0088
FFA_MEM_PERM_SET_32: Final = 0x8400_0089
FFA_MEM_PERM_SET_64: Final = 0xC400_0089
FFA_CONSOLE_LOG_32: Final = 0x8400_008A
FFA_CONSOLE_LOG_64: Final = 0xC400_008A
FFA_PARTITION_INFO_GET_REGS: Final = 0xC400_008B
FFA_EL3_INTR_HANDLE: Final = 0x8400_008C
FFA_MSG_SEND_DIRECT_REQ2: Final = 0xC400_008D
FFA_MSG_SEND_DIRECT_RESP2: Final = 0xC400_008E
FFA_NS_RES_INFO_GET: Final = 0xC400_008F
FFA_ABORT_32: Final = 0x8400_0090
FFA_ABORT_64: Final = 0xC400_0090

_IDS: Final = {
    name: value
    for name, value in list(vars().items())
    if name.startswith("FFA_") and isinstance(value, int)
}

KNOWN_BY_NAME: Final = {
    0xC400_0094: "FFA_NOTIFICATION_BIND2",
    0xC400_0095: "FFA_NOTIFICATION_UNBIND2",
    0xC400_0096: "FFA_NOTIFICATION_SET2",
    0xC400_0097: "FFA_NOTIFICATION_GET2",
}
"""Calls of v1.3 of which the ids are public and their registers are not: nobody serves them here.

Source: TF-A, include/services/ffa_svc.h of 2026; its SPMD passes them on between worlds of v1.3.
"""

DIRECT_REQUESTS: Final = frozenset(
    {FFA_MSG_SEND_DIRECT_REQ_32, FFA_MSG_SEND_DIRECT_REQ_64, FFA_MSG_SEND_DIRECT_REQ2}
)
DIRECT_RESPONSES: Final = frozenset(
    {FFA_MSG_SEND_DIRECT_RESP_32, FFA_MSG_SEND_DIRECT_RESP_64, FFA_MSG_SEND_DIRECT_RESP2}
)

# FF-A's window of the Standard Secure Service function numbers (DEN0077A v1.2, 11).
FIRST_NUMBER: Final = 0x60
LAST_NUMBER: Final = 0xEF


class Conduit(Enum):
    """The instruction that carries a call or a reply."""

    SMC = "SMC"
    HVC = "HVC"
    SVC = "SVC"
    ERET = "ERET"


class Instance(Enum):
    """A boundary between two exception levels at which FF-A is spoken (DEN0077A v1.2, 3.2)."""

    NS_PHYSICAL = "non-secure physical"  # hypervisor or OS kernel <-> SPMD
    NS_VIRTUAL = "non-secure virtual"  # VM <-> hypervisor
    S_PHYSICAL = "secure physical"  # SPMC <-> SPMD
    S_VIRTUAL = "secure virtual"  # SP <-> SPMC


# How the lower exception level of an instance calls; the higher one always uses ERET.
CALL_CONDUITS: Final[dict[Instance, frozenset[Conduit]]] = {
    Instance.NS_PHYSICAL: frozenset({Conduit.SMC}),
    Instance.NS_VIRTUAL: frozenset({Conduit.SMC, Conduit.HVC}),
    Instance.S_PHYSICAL: frozenset({Conduit.SMC}),
    Instance.S_VIRTUAL: frozenset({Conduit.SMC, Conduit.HVC, Conduit.SVC}),
}


class Function(Struct, frozen=True):
    """One function id.

    `since` and `until` are the first and the last version that define it. `called_at` are the
    instances where the lower exception level may invoke it, `delivered_at` those where the
    higher one may by ERET. `section` is the document, version and section of its definition.
    `args` are the fields of its registers, `replies` those of the FFA_SUCCESS that answers it.
    """

    id: int
    name: str
    since: int
    until: int
    called_at: frozenset[Instance]
    delivered_at: frozenset[Instance]
    section: str
    args: tuple[Arg, ...]
    replies: tuple[Arg, ...]

    @property
    def base_name(self) -> str:
        """Its name without a width suffix, as the table of its registers has it."""
        return self.name[:-3] if self.name.endswith(("_32", "_64")) else self.name

    @property
    def is_64(self) -> bool:
        """Whether the call passes 64-bit registers."""
        return bool(self.id & 1 << 30)

    @property
    def instances(self) -> frozenset[Instance]:
        """Every instance at which it may be seen, in either direction."""
        return self.called_at | self.delivered_at

    @property
    def conduits(self) -> frozenset[Conduit]:
        """Every conduit that may carry it at some instance."""
        return frozenset(c for instance in self.instances for c in self.conduits_at(instance))

    def conduits_at(self, instance: Instance) -> frozenset[Conduit]:
        """The conduits that may carry it at `instance`."""
        up = CALL_CONDUITS[instance] if instance in self.called_at else frozenset()
        return up | {Conduit.ERET} if instance in self.delivered_at else up

    def defined_in(self, version: int) -> bool:
        """Whether `version` of the specification defines it."""
        return self.since <= version <= self.until

    def __str__(self) -> str:
        return f"{self.name} ({self.id:#010x}, v{format_version(self.since)})"


_NONE: frozenset[Instance] = frozenset()
_ANY = frozenset(Instance)
_NS = frozenset({Instance.NS_PHYSICAL, Instance.NS_VIRTUAL})
_NS_PHYSICAL = frozenset({Instance.NS_PHYSICAL})
_S = frozenset({Instance.S_PHYSICAL, Instance.S_VIRTUAL})
_S_PHYSICAL = frozenset({Instance.S_PHYSICAL})
_S_VIRTUAL = frozenset({Instance.S_VIRTUAL})
_NOT_S_PHYSICAL = _ANY - _S_PHYSICAL
_NOT_NS_PHYSICAL = _ANY - _NS_PHYSICAL

_A0 = "DEN0077A v1.0, "
_A1 = "DEN0077A v1.1, "
_A2 = "DEN0077A v1.2, "
_A3 = "DEN0077A v1.3, "
_MM = "DEN0140 v1.2, "

# name without width suffix, since, until, called at, delivered at, section
_Row = tuple[str, int, int, frozenset[Instance], frozenset[Instance], str]
_ROWS: tuple[_Row, ...] = (
    ("FFA_ERROR", V1_0, LATEST, _ANY, _ANY, _A2 + "12"),
    ("FFA_SUCCESS", V1_0, LATEST, _ANY, _ANY, _A2 + "12"),
    ("FFA_INTERRUPT", V1_0, LATEST, _S_PHYSICAL, _ANY, _A2 + "12"),
    ("FFA_VERSION", V1_0, LATEST, _ANY, _NONE, _A2 + "13.2"),
    ("FFA_FEATURES", V1_0, LATEST, _ANY, _S_PHYSICAL, _A2 + "13.3"),
    ("FFA_RX_ACQUIRE", V1_1, LATEST, _NS_PHYSICAL, _S_PHYSICAL, _A2 + "13.4"),
    ("FFA_RX_RELEASE", V1_0, LATEST, _ANY, _ANY, _A2 + "13.5"),
    ("FFA_RXTX_MAP", V1_0, LATEST, _ANY, _S_PHYSICAL, _A2 + "13.6"),
    ("FFA_RXTX_UNMAP", V1_0, LATEST, _ANY, _S_PHYSICAL, _A2 + "13.7"),
    ("FFA_PARTITION_INFO_GET", V1_0, LATEST, _ANY, _S_PHYSICAL, _A2 + "13.8"),
    ("FFA_PARTITION_INFO_GET_REGS", V1_2, LATEST, _ANY, _S_PHYSICAL, _A2 + "13.9"),
    ("FFA_ID_GET", V1_0, LATEST, _ANY, _NONE, _A2 + "13.10"),
    ("FFA_SPM_ID_GET", V1_1, LATEST, _ANY, _NONE, _A2 + "13.11"),
    ("FFA_CONSOLE_LOG", V1_2, LATEST, _ANY, _S_PHYSICAL, _A2 + "13.12"),
    ("FFA_NS_RES_INFO_GET", V1_3, LATEST, _NS, _S_PHYSICAL, _A3 + "13.13"),
    ("FFA_MSG_WAIT", V1_0, LATEST, _NOT_NS_PHYSICAL, _ANY, _A2 + "14.1"),
    ("FFA_YIELD", V1_0, LATEST, _NOT_NS_PHYSICAL, _ANY, _A2 + "14.2"),
    ("FFA_RUN", V1_0, LATEST, _NOT_S_PHYSICAL, _S_PHYSICAL, _A2 + "14.3"),
    ("FFA_NORMAL_WORLD_RESUME", V1_0, LATEST, _S_PHYSICAL, _NONE, _A2 + "14.4"),
    ("FFA_EL3_INTR_HANDLE", V1_2, LATEST, _S_PHYSICAL, _NONE, _A2 + "14"),
    ("FFA_ABORT", V1_3, LATEST, _S, _NONE, _A3 + "14"),
    ("FFA_MSG_SEND", V1_0, V1_0, _ANY, _ANY, _A0 + "9"),
    ("FFA_MSG_POLL", V1_0, V1_0, _ANY, _NONE, _A0 + "9"),
    ("FFA_MSG_SEND2", V1_1, LATEST, _NOT_S_PHYSICAL, _S_PHYSICAL, _A2 + "15.1"),
    ("FFA_MSG_SEND_DIRECT_REQ", V1_0, LATEST, _ANY, _ANY, _A2 + "15.2"),
    ("FFA_MSG_SEND_DIRECT_RESP", V1_0, LATEST, _NOT_NS_PHYSICAL, _ANY, _A2 + "15.3"),
    ("FFA_MSG_SEND_DIRECT_REQ2", V1_2, LATEST, _ANY, _ANY, _A2 + "15.4"),
    ("FFA_MSG_SEND_DIRECT_RESP2", V1_2, LATEST, _NOT_NS_PHYSICAL, _ANY, _A2 + "15.5"),
    ("FFA_MEM_DONATE", V1_0, LATEST, _ANY, _S_PHYSICAL, _MM + "2.1"),
    ("FFA_MEM_LEND", V1_0, LATEST, _ANY, _S_PHYSICAL, _MM + "2.2"),
    ("FFA_MEM_SHARE", V1_0, LATEST, _ANY, _S_PHYSICAL, _MM + "2.3"),
    ("FFA_MEM_RETRIEVE_REQ", V1_0, LATEST, _ANY, _S_PHYSICAL, _MM + "2.4"),
    ("FFA_MEM_RETRIEVE_RESP", V1_0, LATEST, _S_PHYSICAL, _ANY, _MM + "2.5"),
    ("FFA_MEM_RELINQUISH", V1_0, LATEST, _ANY, _S_PHYSICAL, _MM + "2.6"),
    ("FFA_MEM_RECLAIM", V1_0, LATEST, _ANY, _S_PHYSICAL, _MM + "2.7"),
    ("FFA_MEM_PERM_GET", V1_1, LATEST, _S_VIRTUAL, _NONE, _MM + "2.8"),
    ("FFA_MEM_PERM_SET", V1_1, LATEST, _S_VIRTUAL, _NONE, _MM + "2.9"),
    ("FFA_MEM_OP_PAUSE", V1_0, LATEST, _S_PHYSICAL, _ANY, _MM + "3"),
    ("FFA_MEM_OP_RESUME", V1_0, LATEST, _ANY, _S_PHYSICAL, _MM + "3"),
    ("FFA_MEM_FRAG_RX", V1_0, LATEST, _ANY, _ANY, _MM + "3"),
    ("FFA_MEM_FRAG_TX", V1_0, LATEST, _ANY, _ANY, _MM + "3"),
    ("FFA_NOTIFICATION_BITMAP_CREATE", V1_1, LATEST, _NS_PHYSICAL, _S_PHYSICAL, _A2 + "16.1"),
    ("FFA_NOTIFICATION_BITMAP_DESTROY", V1_1, LATEST, _NS_PHYSICAL, _S_PHYSICAL, _A2 + "16.2"),
    ("FFA_NOTIFICATION_BIND", V1_1, LATEST, _ANY, _S_PHYSICAL, _A2 + "16.3"),
    ("FFA_NOTIFICATION_UNBIND", V1_1, LATEST, _ANY, _S_PHYSICAL, _A2 + "16.4"),
    ("FFA_NOTIFICATION_SET", V1_1, LATEST, _ANY, _S_PHYSICAL, _A2 + "16.5"),
    ("FFA_NOTIFICATION_GET", V1_1, LATEST, _ANY, _S_PHYSICAL, _A2 + "16.6"),
    ("FFA_NOTIFICATION_INFO_GET", V1_1, LATEST, _NS, _S_PHYSICAL, _A2 + "16.7"),
    ("FFA_SECONDARY_EP_REGISTER", V1_1, LATEST, _S, _NONE, _A1 + "18.3.2.1"),
)

# 64-bit ids that came later than their 32-bit twins.
_SINCE = dict.fromkeys(
    (
        FFA_ERROR_64,
        FFA_INTERRUPT_64,
        FFA_MSG_WAIT_64,
        FFA_YIELD_64,
        FFA_RUN_64,
        FFA_NORMAL_WORLD_RESUME_64,
    ),
    V1_3,
)

FUNCTIONS: Final[dict[int, Function]] = {
    _IDS[name]: Function(
        _IDS[name],
        name,
        _SINCE.get(_IDS[name], since),
        until,
        called_at,
        delivered_at,
        section,
        ARGS[base],
        RESULTS.get(base, ()),
    )
    for base, since, until, called_at, delivered_at, section in _ROWS
    for name in (base, base + "_32", base + "_64")
    if name in _IDS
}


def function_name(function_id: int) -> str:
    """The name of a function id, or the id in hexadecimal if FF-A defines none."""
    function = FUNCTIONS.get(function_id)
    if function is not None:
        return function.name
    return KNOWN_BY_NAME.get(function_id) or f"{function_id:#010x}"


def is_ffa(function_id: int) -> bool:
    """Whether an id lies in FF-A's window, defined or not."""
    return (
        function_id & 0xBFFF_0000 == 0x8400_0000
        and FIRST_NUMBER <= function_id & 0xFFFF <= LAST_NUMBER
    )
