"""How implementations in the field differ from the specification: a row for each difference.

Who writes software against one of them may run it here under its *personality*: the rows that name
it hold then. What each row does is data (`conventions.py`); no code asks which personality it is.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.features import NOTIFICATION, NotificationProperties, RetrieveProperties
from ffabric.abi.ffa.functions import FUNCTIONS, Instance
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_0, V1_3
from ffabric.firmware.state.interface.conventions import HYPERVISOR, SPMC, Switch

SPEC = "spec"
PERSONALITIES = MappingProxyType(
    {
        SPEC: "The specification, where it says something; no difference.",
        "hafnium": "Hafnium: SPMC at S-EL2 and hypervisor.",
        "tf-a-el3": "TF-A's own SPMC at EL3.",
        "optee-spmc": "OP-TEE as SPMC at S-EL1.",
        "pkvm": "pKVM between the SPMC and its host.",
        "xen": "Xen's mediator between the SPMC and its guests.",
        "linux-host": "What Linux's driver relies on, as kernel or as guest.",
    }
)
"""Names that a system may give, and whose habits they stand for."""

_BOTH = (SPMC, HYPERVISOR)
_TESTS = "tests/firmware/manager/test_personalities.py::"
_RETRIEVE = frozenset({fid.FFA_MEM_RETRIEVE_REQ_32, fid.FFA_MEM_RETRIEVE_REQ_64})
_DONATE = frozenset({fid.FFA_MEM_DONATE_32, fid.FFA_MEM_DONATE_64})
_CONSOLE = frozenset({fid.FFA_CONSOLE_LOG_32, fid.FFA_CONSOLE_LOG_64})
_NOTIFICATIONS = frozenset(
    each.id for each in FUNCTIONS.values() if each.name.startswith("FFA_NOTIFICATION_")
)
_BITMAPS = frozenset({fid.FFA_NOTIFICATION_BITMAP_CREATE, fid.FFA_NOTIFICATION_BITMAP_DESTROY})
_REQ2 = frozenset({fid.FFA_MSG_SEND_DIRECT_REQ2, fid.FFA_MSG_SEND_DIRECT_RESP2})
_JUDGED_BY_VERSION = _REQ2 | {fid.FFA_MSG_SEND2}
_NEWER = frozenset(
    each.id
    for each in FUNCTIONS.values()
    if V1_0 < each.since < V1_3 and each.id not in _JUDGED_BY_VERSION
)


def _reserved(name: str) -> tuple[str, ...]:
    """A rule's ids for the three ways of sending memory."""
    return tuple(f"mem.{kind}.{name}" for kind in ("donate", "lend", "share"))


SWITCHES = (
    Switch(
        name="ranges_may_differ",
        at=_BOTH,
        of=("hafnium",),
        differs="Ranges of a transaction whose pages have different permissions are accepted; "
        "their borrower gets the access that the sender has to all of them.",
        source="Hafnium, src/ffa_memory.c, constituents_get_mode: ranges are compared with those "
        "of the first fragment, and not among these.",
        test=_TESTS + "test_hafnium_accepts_ranges_that_differ_in_their_permissions",
        waives=("mem.donate.mixed_attributes", "mem.lend.mixed_attributes",
                "mem.share.mixed_attributes"),
    ),
    Switch(
        name="reserved_bytes_of_headers",
        at=_BOTH,
        of=("hafnium",),
        differs="Reserved bytes of a transaction descriptor and its receivers must be zero in "
        "every version; those of composite descriptors, address ranges "
        "and endpoint RX/TX descriptors are not looked at.",
        source="Hafnium, src/ffa_memory.c, ffa_memory_region_sanity_check",
        test=_TESTS + "test_reserved_bytes_in_the_headers_are_refused_by_hafnium",
        waives=(*_reserved("reserved_ranges"), "rxtx.map.reserved_bytes"),
        enforces=(*_reserved("reserved_sbz"), "mem.retrieve.reserved_sbz"),
    ),
    Switch(
        name="reserved_bytes_are_skipped",
        at=(SPMC,),
        of=("tf-a-el3", "optee-spmc"),
        differs="Reserved bytes of descriptors of v1.0 are not looked at.",
        source="TF-A, services/std_svc/spm/el3_spmc/spmc_shared_mem.c, spmc_shmem_check_obj; "
        "OP-TEE, core/arch/arm/kernel/thread_spmc.c, spmc_read_mem_transaction",
        test=_TESTS + "test_reserved_bytes_are_skipped_where_the_implementation_does_so",
        waives=(
            *_reserved("reserved_bytes"),
            *_reserved("reserved_ranges"),
            "mem.retrieve.reserved_bytes",
            "rxtx.map.reserved_bytes",
        ),
    ),
    Switch(
        name="vm_buffers_denied",
        at=(SPMC,),
        of=("hafnium",),
        differs="FFA_RXTX_MAP for a VM whose buffers are not the normal world's own memory is "
        "DENIED, not INVALID_PARAMETERS.",
        source="Hafnium, src/arch/aarch64/hypervisor/other_world.c, "
        "arch_other_world_vm_configure_rxtx_map",
        test=_TESTS + "test_hafnium_denies_buffers_that_are_not_the_normal_worlds",
        statuses=MappingProxyType({"rxtx.map.vm_memory": Status.DENIED}),
    ),
    Switch(
        name="newer_calls",
        at=_BOTH,
        of=("hafnium",),
        differs="Calls that the caller's version does not have are answered, except direct "
        "requests with UUIDs, indirect messages, and those of v1.3.",
        source="Hafnium, src/arch/aarch64/hypervisor/handler.c, ffa_handler: it asks no version",
        test=_TESTS + "test_hafnium_answers_newer_calls_of_an_old_partition",
        older=_NEWER,
    ),
    Switch(
        name="no_newer_version",
        at=_BOTH,
        of=("hafnium",),
        differs="FFA_VERSION with a newer minor version than the manager's is NOT_SUPPORTED, and "
        "agrees on nothing.",
        source="Hafnium, src/api.c, api_ffa_version",
        test=_TESTS + "test_hafnium_agrees_on_no_newer_version",
        enforces=("version.newer",),
    ),
    Switch(
        name="retrieve_properties",
        at=_BOTH,
        of=("hafnium",),
        differs="FFA_FEATURES tells everybody, not the hypervisor alone, that FFA_MEM_RETRIEVE_REQ "
        "serves hypervisors.",
        source="Hafnium, src/api.c, ffa_features_function",
        test=_TESTS + "test_hafnium_tells_everybody_of_the_hypervisors_retrieve",
        features=MappingProxyType(
            dict.fromkeys(_RETRIEVE, RetrieveProperties.HYPERVISOR_RETRIEVE.mask)
        ),
    ),
    Switch(
        name="notifications_told",
        at=_BOTH,
        of=("hafnium",),
        differs="FFA_FEATURES tells callers of v1.3 that notifications are not for single vCPUs. "
        "They are served all the same.",
        source="Hafnium, src/api.c, ffa_features_feature",
        test=_TESTS + "test_hafnium_tells_of_no_notifications_of_vcpus",
        features=MappingProxyType(
            {NOTIFICATION: NotificationProperties.build(NO_PER_VCPU_SP=1, NO_PER_VCPU_VM=1)}
        ),
    ),
    Switch(
        name="messages_are_seen",
        at=_BOTH,
        of=("hafnium",),
        differs="While the framework notification of a message in RX is pending, FFA_RX_RELEASE is "
        "DENIED, and FFA_MSG_WAIT leaves RX with its consumer.",
        source="Hafnium, src/api.c, api_release_mailbox",
        test=_TESTS + "test_hafnium_keeps_a_message_whose_receiver_has_not_seen_it",
        enforces=("rx.release.unseen",),
    ),
    Switch(
        name="no_buffers_is_busy",
        at=_BOTH,
        of=("hafnium", "tf-a-el3"),
        differs="Whoever has no RX/TX pair is answered BUSY, not DENIED, where an answer or a "
        "message would go to its RX.",
        source="Hafnium, src/api.c, send_versioned_partition_info_descriptors; TF-A, "
        "services/std_svc/spm/el3_spmc/spmc_main.c, partition_info_get_handler",
        test=_TESTS + "test_without_buffers_hafnium_is_busy",
        statuses=MappingProxyType({"rx.no_buffers": Status.BUSY}),
    ),
    Switch(
        name="no_calls_of_the_el3_spmc",
        at=(SPMC,),
        of=("tf-a-el3",),
        differs="No memory is donated; there are no notifications, no indirect messages, no "
        "discovery in registers, no FFA_RX_ACQUIRE, no FFA_YIELD.",
        source="TF-A, services/std_svc/spm/el3_spmc/spmc_main.c, spmc_smc_handler",
        test=_TESTS + "test_what_a_personality_does_not_serve_is_not_supported",
        withholds=_DONATE
        | _NOTIFICATIONS
        | {
            fid.FFA_MSG_SEND2,
            fid.FFA_PARTITION_INFO_GET_REGS,
            fid.FFA_RX_ACQUIRE,
            fid.FFA_YIELD,
        },
    ),
    Switch(
        name="memory_errors_are_invalid",
        at=(SPMC,),
        of=("tf-a-el3",),
        differs="Memory that is not its sender's to send, and a retrieve that names another sender "
        "or another borrower, are INVALID_PARAMETERS, not DENIED.",
        source="TF-A, services/std_svc/spm/el3_spmc/spmc_shared_mem.c, spmc_shmem_check_state_obj "
        "and spmc_ffa_mem_retrieve_req",
        test=_TESTS + "test_memory_errors_of_tf_a_are_invalid_parameters",
        statuses=MappingProxyType(
            dict.fromkeys(
                (
                    "mem.lend.not_owned",
                    "mem.share.not_owned",
                    "mem.retrieve.sender",
                    "mem.retrieve.other_borrower",
                ),
                Status.INVALID_PARAMETERS,
            )
        ),
    ),
    Switch(
        name="uuids_of_requests_are_passed_on",
        at=(SPMC,),
        of=("tf-a-el3",),
        differs="The UUID of FFA_MSG_SEND_DIRECT_REQ2 is not looked at: the SP gets any.",
        source="TF-A, services/std_svc/spm/el3_spmc/spmc_main.c, direct_req_smc_handler",
        test=_TESTS + "test_tf_a_passes_any_uuid_of_a_request_on",
        waives=("direct.req2.uuid",),
    ),
    Switch(
        name="errors_are_answers",
        at=(SPMC,),
        of=("tf-a-el3", "optee-spmc"),
        differs="An SP may answer a direct request with FFA_ERROR: the requester gets it, and the "
        "SP waits for the next one. EDK2's StandaloneMm and Trusted Services do so.",
        source="TF-A, services/std_svc/spm/el3_spmc/spmc_main.c, ffa_error_handler; OP-TEE, "
        "core/arch/arm/kernel/spmc_sp_handler.c, ffa_handle_sp_error",
        test=_TESTS + "test_an_sp_answers_with_an_error_where_that_is_passed_on",
        answers=frozenset({fid.FFA_ERROR}),
    ),
    Switch(
        name="no_retrieve_by_the_hypervisor",
        at=(SPMC,),
        of=("optee-spmc",),
        differs="The normal world cannot ask what a handle stands for (FFA_MEM_RETRIEVE_REQ), "
        "nor acquire an RX buffer, donate memory, send indirect messages, or discover partitions "
        "in registers.",
        source="OP-TEE, core/arch/arm/kernel/thread_spmc.c, thread_spmc_msg_recv",
        test=_TESTS + "test_what_a_personality_does_not_serve_is_not_supported",
        instances=(Instance.NS_PHYSICAL,),
        withholds=_RETRIEVE
        | _DONATE
        | _CONSOLE
        | {
            fid.FFA_MEM_FRAG_RX,
            fid.FFA_MEM_RELINQUISH,
            fid.FFA_MSG_SEND2,
            fid.FFA_PARTITION_INFO_GET_REGS,
            fid.FFA_RX_ACQUIRE,
        },
    ),
    Switch(
        name="no_calls_of_pkvm",
        at=(HYPERVISOR,),
        of=("pkvm",),
        differs="The host borrows and donates no memory; it has no notifications, no direct "
        "requests with UUIDs, no console, no discovery in registers, and FFA_RXTX_MAP in its "
        "64-bit form only.",
        source="Linux, arch/arm64/kvm/hyp/nvhe/ffa.c, ffa_call_supported",
        test=_TESTS + "test_what_a_personality_does_not_serve_is_not_supported",
        withholds=_RETRIEVE
        | _DONATE
        | _NOTIFICATIONS
        | _REQ2
        | _CONSOLE
        | {
            fid.FFA_MEM_FRAG_RX,
            fid.FFA_MEM_RELINQUISH,
            fid.FFA_MSG_SEND_DIRECT_RESP_32,
            fid.FFA_MSG_WAIT,
            fid.FFA_PARTITION_INFO_GET_REGS,
            fid.FFA_RXTX_MAP_32,
        },
    ),
    Switch(
        name="no_calls_of_xen",
        at=(HYPERVISOR,),
        of=("xen",),
        differs="Guests share memory with SPs and take it back, in one fragment: they neither "
        "lend, donate nor borrow any. They answer no requests and have no console.",
        source="Xen, xen/arch/arm/tee/ffa.c, ffa_handle_call; ffa_shm.c, ffa_handle_mem_share",
        test=_TESTS + "test_what_a_personality_does_not_serve_is_not_supported",
        withholds=_RETRIEVE
        | _DONATE
        | _CONSOLE
        | _BITMAPS
        | {
            fid.FFA_MEM_LEND_32,
            fid.FFA_MEM_LEND_64,
            fid.FFA_MEM_FRAG_RX,
            fid.FFA_MEM_FRAG_TX,
            fid.FFA_MEM_RELINQUISH,
            fid.FFA_MSG_SEND_DIRECT_RESP_32,
            fid.FFA_MSG_SEND_DIRECT_RESP_64,
            fid.FFA_MSG_SEND_DIRECT_RESP2,
            fid.FFA_MSG_WAIT,
            fid.FFA_SPM_ID_GET,
            fid.FFA_YIELD,
        },
    ),
    Switch(
        name="lends_without_attributes",
        at=_BOTH,
        of=("linux-host",),
        differs="Memory that is lent to several borrowers comes without memory attributes: it is "
        "Normal memory then, or Device memory if the sender has it so.",
        source="Linux, drivers/firmware/arm_ffa/driver.c, ffa_memory_attributes_get",
        test=_TESTS + "test_linux_lends_to_several_without_attributes",
        waives=("mem.lend.attributes_missing",),
    ),
    Switch(
        name="unmap_names_the_caller",
        at=(HYPERVISOR,),
        of=("linux-host",),
        differs="FFA_RXTX_UNMAP of a VM has the caller's own id in w1.",
        source="Linux, drivers/firmware/arm_ffa/driver.c, ffa_rxtx_unmap",
        test=_TESTS + "test_linux_unmaps_its_buffers_by_its_own_id",
        waives=("rxtx.unmap.id",),
    ),
)  # fmt: skip
"""Every known difference that a system may choose."""


@cache
def switches(personalities: tuple[str, ...], manager: str) -> tuple[Switch, ...]:
    """The rows that hold for ``manager`` under these personalities."""
    wanted = frozenset(personalities)
    return tuple(each for each in SWITCHES if manager in each.at and not wanted.isdisjoint(each.of))
