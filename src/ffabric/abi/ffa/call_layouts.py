"""What the registers of every FF-A call and of every FFA_SUCCESS hold, as the manual prints it.

Keyed by the call's name without width suffix. `ARGS` are the parameters, `RESULTS` the fields
of the FFA_SUCCESS that answers it. Addresses and payload are as wide as the call.
"""

from __future__ import annotations

from typing import Final

from ffabric.abi.ffa.flags import (
    DirectFlags,
    MsgSend2Flags,
    MsgSendFlags,
    MsgWaitFlags,
    NsResFlags,
    PartitionInfoGetFlags,
    VersionFlags,
)
from ffabric.abi.ffa.memory_words import MemPerm, ReclaimFlags
from ffabric.abi.ffa.notifications import BindFlags, GetFlags, SetFlags
from ffabric.abi.ffa.registers import (
    WIDE,
    Arg,
    Kind,
    endpoint,
    flags,
    mbz,
    mbz_bits,
    pair,
    payload,
    vcpu,
)
from ffabric.abi.ffa.version import V1_1, V1_2, V1_3

_TARGET = (endpoint("target", 1, 31, 16), vcpu("target_vcpu", 1, 15, 0))
_SENDER_RECEIVER = (endpoint("sender", 1, 31, 16), endpoint("receiver", 1, 15, 0))
_HANDLE = pair("handle", 1, Kind.HANDLE)
_NOTIFICATIONS = pair("notifications", 3, Kind.BITMAP)

# DEN0077A v1.2, tables 15.4 and 15.6: x8-x17 carry payload since v1.3.
_DIRECT = (
    *_SENDER_RECEIVER,
    flags("flags", 2, DirectFlags),
    payload(3, 7, until=V1_2),
    payload(3, 17, since=V1_3),
)
# DEN0140 v1.2, tables 2.2, 2.6, 2.10, 2.14.
_MEMORY = (
    Arg("total_length", 1, kind=Kind.LENGTH),
    Arg("fragment_length", 2, kind=Kind.LENGTH),
    Arg("address", 3, WIDE, kind=Kind.ADDRESS, note="0 if the descriptor is in TX"),
    Arg("pages", 4, kind=Kind.PAGES, note="0 if the descriptor is in TX"),
)

ARGS: Final[dict[str, tuple[Arg, ...]]] = {
    "FFA_ERROR": (
        *_TARGET,
        Arg("status", 2, kind=Kind.STATUS),
        Arg("argument", 3, since=V1_2),
    ),
    "FFA_SUCCESS": _TARGET,
    "FFA_INTERRUPT": (*_TARGET, Arg("interrupt", 2, kind=Kind.INTID)),
    "FFA_VERSION": (
        Arg("version", 1, kind=Kind.VERSION),
        flags("flags", 2, VersionFlags, since=V1_3),
    ),
    "FFA_FEATURES": (
        Arg("feature", 1, kind=Kind.FEATURE),
        Arg("properties", 2),
    ),
    "FFA_RX_ACQUIRE": (endpoint("vm", 1, 15, 0),),
    "FFA_RX_RELEASE": (endpoint("vm", 1, 15, 0, physical_only=True),),
    "FFA_RXTX_MAP": (
        Arg("tx", 1, WIDE, kind=Kind.ADDRESS),
        Arg("rx", 2, WIDE, kind=Kind.ADDRESS),
        Arg("pages", 3, 5, kind=Kind.PAGES),
        mbz_bits(3, WIDE, 6),
    ),
    "FFA_RXTX_UNMAP": (endpoint("endpoint", 1, 31, 16, physical_only=True),),
    "FFA_PARTITION_INFO_GET": (
        Arg("uuid", 1, kind=Kind.UUID, count=4),
        flags("flags", 5, PartitionInfoGetFlags, since=V1_1),
    ),
    "FFA_PARTITION_INFO_GET_REGS": (
        Arg("uuid", 1, WIDE, kind=Kind.UUID, count=2),
        Arg("tag", 3, 31, 16),
        Arg("start_index", 3, 15, kind=Kind.COUNT),
    ),
    "FFA_ID_GET": (),
    "FFA_SPM_ID_GET": (),
    "FFA_CONSOLE_LOG": (
        Arg("count", 1, 7, kind=Kind.COUNT),
        Arg("characters", 2, WIDE, kind=Kind.TEXT, count=6, until=V1_1),
        Arg("characters", 2, WIDE, kind=Kind.TEXT, count=16, since=V1_2),
    ),
    "FFA_NS_RES_INFO_GET": (endpoint("endpoint", 1, 15, 0), flags("flags", 2, NsResFlags)),
    "FFA_MSG_WAIT": (mbz(1), flags("flags", 2, MsgWaitFlags, since=V1_2)),
    "FFA_YIELD": (
        endpoint("target", 1, 31, 16, physical_only=True),
        vcpu("target_vcpu", 1, 15, 0, physical_only=True),
        pair("timeout", 2, Kind.COUNT),
        mbz(4, 7),
    ),
    "FFA_RUN": _TARGET,
    "FFA_NORMAL_WORLD_RESUME": (),
    "FFA_EL3_INTR_HANDLE": (),
    "FFA_ABORT": (mbz(1), Arg("reason", 2), mbz(3, 7)),
    "FFA_MSG_SEND": (
        *_SENDER_RECEIVER,
        Arg("length", 3, kind=Kind.LENGTH),
        flags("flags", 4, MsgSendFlags),
    ),
    "FFA_MSG_POLL": (),
    # The sender may name itself at virtual instances, too, as Arm's compliance suite does.
    "FFA_MSG_SEND2": (
        endpoint("sender", 1, 31, 16),
        flags("flags", 2, MsgSend2Flags),
    ),
    "FFA_MSG_SEND_DIRECT_REQ": _DIRECT,
    "FFA_MSG_SEND_DIRECT_RESP": _DIRECT,
    "FFA_MSG_SEND_DIRECT_REQ2": (
        *_SENDER_RECEIVER,
        Arg("uuid", 2, WIDE, kind=Kind.UUID, count=2),
        payload(4, 17),
    ),
    "FFA_MSG_SEND_DIRECT_RESP2": (*_SENDER_RECEIVER, mbz(2, 3), payload(4, 17)),
    "FFA_MEM_DONATE": _MEMORY,
    "FFA_MEM_LEND": _MEMORY,
    "FFA_MEM_SHARE": _MEMORY,
    "FFA_MEM_RETRIEVE_REQ": _MEMORY,
    "FFA_MEM_RETRIEVE_RESP": _MEMORY[:2],
    "FFA_MEM_RELINQUISH": (),
    "FFA_MEM_RECLAIM": (_HANDLE, flags("flags", 3, ReclaimFlags)),
    "FFA_MEM_PERM_GET": (
        Arg("address", 1, WIDE, kind=Kind.ADDRESS),
        Arg("more_pages", 2, kind=Kind.PAGES, since=V1_3),
    ),
    "FFA_MEM_PERM_SET": (
        Arg("address", 1, WIDE, kind=Kind.ADDRESS),
        Arg("pages", 2, kind=Kind.PAGES),
        flags("permissions", 3, MemPerm),
    ),
    "FFA_MEM_OP_PAUSE": (_HANDLE,),
    "FFA_MEM_OP_RESUME": (_HANDLE,),
    "FFA_MEM_FRAG_RX": (
        _HANDLE,
        Arg("offset", 3, kind=Kind.LENGTH),
        endpoint("endpoint", 4, 31, 16, physical_only=True),
    ),
    "FFA_MEM_FRAG_TX": (
        _HANDLE,
        Arg("fragment_length", 3, kind=Kind.LENGTH),
        endpoint("endpoint", 4, 31, 16, physical_only=True),
    ),
    "FFA_NOTIFICATION_BITMAP_CREATE": (
        endpoint("vm", 1, 15, 0),
        Arg("vcpus", 2, kind=Kind.COUNT),
    ),
    "FFA_NOTIFICATION_BITMAP_DESTROY": (endpoint("vm", 1, 15, 0),),
    "FFA_NOTIFICATION_BIND": (*_SENDER_RECEIVER, flags("flags", 2, BindFlags), _NOTIFICATIONS),
    "FFA_NOTIFICATION_UNBIND": (*_SENDER_RECEIVER, mbz(2), _NOTIFICATIONS),
    "FFA_NOTIFICATION_SET": (*_SENDER_RECEIVER, flags("flags", 2, SetFlags), _NOTIFICATIONS),
    "FFA_NOTIFICATION_GET": (
        vcpu("vcpu", 1, 31, 16),
        endpoint("receiver", 1, 15, 0),
        flags("flags", 2, GetFlags, until=V1_1),
        flags("flags", 2, GetFlags, "SBZ", since=V1_2),
    ),
    "FFA_NOTIFICATION_INFO_GET": (),
    "FFA_SECONDARY_EP_REGISTER": (Arg("entry_point", 1, WIDE, kind=Kind.ADDRESS),),
}

_ID = (endpoint("id", 2, 15, 0),)
_RESULT_HANDLE = (pair("handle", 2, Kind.HANDLE),)

RESULTS: Final[dict[str, tuple[Arg, ...]]] = {
    "FFA_FEATURES": (Arg("properties", 2), Arg("properties_2", 3)),
    "FFA_PARTITION_INFO_GET": (
        Arg("count", 2, kind=Kind.COUNT),
        Arg("descriptor_size", 3, kind=Kind.LENGTH, since=V1_1),
    ),
    "FFA_PARTITION_INFO_GET_REGS": (
        Arg("descriptor_size", 2, 63, 48, kind=Kind.LENGTH),
        Arg("tag", 2, 47, 32),
        Arg("current_index", 2, 31, 16, kind=Kind.COUNT),
        Arg("last_index", 2, 15, kind=Kind.COUNT),
        payload(3, 17),
    ),
    "FFA_ID_GET": _ID,
    "FFA_SPM_ID_GET": _ID,
    "FFA_NS_RES_INFO_GET": (
        Arg("length", 2, 63, 32, kind=Kind.LENGTH),
        Arg("remaining", 2, kind=Kind.LENGTH),
    ),
    "FFA_MEM_DONATE": _RESULT_HANDLE,
    "FFA_MEM_LEND": _RESULT_HANDLE,
    "FFA_MEM_SHARE": _RESULT_HANDLE,
    "FFA_MEM_FRAG_TX": _RESULT_HANDLE,
    "FFA_MEM_PERM_GET": (
        flags("permissions", 2, MemPerm),
        Arg("more_pages", 3, kind=Kind.PAGES, since=V1_3),
    ),
    "FFA_NOTIFICATION_GET": (
        pair("from_sps", 2, Kind.BITMAP),
        pair("from_vms", 4, Kind.BITMAP),
        Arg("from_spm", 6, kind=Kind.BITMAP),
        Arg("from_hypervisor", 7, kind=Kind.BITMAP),
    ),
    "FFA_NOTIFICATION_INFO_GET": (
        Arg("lists", 2, WIDE, kind=Kind.BITMAP),
        payload(3, 7),
    ),
}
