"""Log lines of the software people run: what each means, and the rule of ours that says the same.

One row a message: who prints it, a pattern, what it means, the rule (empty: none corresponds).
"""

from __future__ import annotations

import re

import msgspec


class Message(msgspec.Struct, frozen=True):
    """A known log line."""

    source: str
    pattern: re.Pattern[str]
    meaning: str
    rule: str = ""


def _rows(source: str, *rows: tuple[str, str, str]) -> tuple[Message, ...]:
    return tuple(
        Message(source, re.compile(pattern), meaning, rule) for pattern, meaning, rule in rows
    )


LINUX = _rows(
    "Linux arm_ffa",
    (
        r"ARM FF-A: Driver version (?P<version>[\d.]+)",
        "The kernel's FF-A driver starts and implements FF-A {version}.",
        "",
    ),
    (
        r"ARM FF-A: Firmware version (?P<version>[\d.]+) found",
        "The callee of FFA_VERSION (a hypervisor or the SPMD) answered with {version}.",
        "",
    ),
    (
        r"Firmware version higher than driver version, downgrading",
        "The firmware implements a newer minor version; the driver keeps to its own.",
        "",
    ),
    (
        r"(FF-A|Incompatible).*[Vv]ersion.*(not supported|incompatible|too low)",
        "FFA_VERSION was answered with another major version or NOT_SUPPORTED.",
        "version.major",
    ),
    (
        r"failed to register FFA RxTx buffers",
        (
            "FFA_RXTX_MAP was refused: the buffers are mapped already, or their pages are not the "
            "kernel's own."
        ),
        "rxtx.map.mapped",
    ),
    (
        r"failed to acquire FFA ID",
        "FFA_ID_GET was refused: the callee did not take this caller for an endpoint.",
        "",
    ),
    (
        r"[Nn]otification setup failed (?P<code>-?\d+)",
        (
            "Notifications are off: FFA_FEATURES of the notification calls or of the SRI was "
            "refused (error {code})."
        ),
        "features.function",
    ),
    (
        r"[Ff]ailed to (get|find|set up) SGI|Schedule Receiver Interrupt",
        "FFA_FEATURES(SRI) told no interrupt the kernel could use.",
        "features.feature",
    ),
    (
        r"partition_info_get.*fail|No partitions? found",
        "FFA_PARTITION_INFO_GET failed or found nothing for the UUID.",
        "discovery.uuid",
    ),
    (
        r"Only one of .*(direct|indirect)|doesn't support direct",
        "The partition's properties lack the messaging method that the driver wants.",
        "direct.req.receiver_property",
    ),
)

OPTEE = _rows(
    "OP-TEE",
    (
        r"Failed to relinquish cookie (?P<cookie>0x[0-9a-fA-F]+)",
        "FFA_MEM_RELINQUISH of handle {cookie} was refused: OP-TEE does not hold it (any more).",
        "mem.relinquish.not_retrieved",
    ),
    (
        r"not been relinquished by all borrowers",
        "FFA_MEM_RECLAIM came before OP-TEE had given the memory back.",
        "mem.reclaim.retrieved",
    ),
    (
        r"Failed to retrieve cookie|Cannot retrieve|spmc_retrieve_req.*fail",
        "FFA_MEM_RETRIEVE_REQ was refused: it does not say what the sender said.",
        "mem.handle",
    ),
    (
        r"[Uu]nhandled FFA function ID (?P<id>0x[0-9a-fA-F]+)",
        "A call reached OP-TEE that it has no handler for: {id}.",
        "abi.unknown_function",
    ),
    (
        r"RXTX buffer.*(alignment|map)|Failed to map rxtx",
        "FFA_RXTX_MAP was refused.",
        "rxtx.map.access",
    ),
    (r"Panic '(?P<why>[^']*)' at", "OP-TEE stopped itself: {why}.", ""),
    (r"Primary CPU switching to normal world boot", "OP-TEE has initialised and waits.", ""),
)

HAFNIUM = _rows(
    "Hafnium",
    (
        r"Invalid memory sender ID",
        "The sender in the descriptor is not the caller.",
        "mem.share.sender",
    ),
    (r"Can't share memory with itself", "Sender and receiver are the same.", "mem.share.to_self"),
    (r"Repeated receiver", "A receiver is named twice.", "mem.share.receiver_twice"),
    (r"No receivers!", "The descriptor names no receiver.", "mem.share.no_receiver"),
    (
        r"[Ff]ragment length .*(too short|greater|larger|smaller|not 16)",
        "The fragment does not fit its total, the buffer, or 16-byte units.",
        "mem.share.length",
    ),
    (
        r"[Ii]nvalid composite memory region descriptor|same composite memory region offset",
        "The receivers do not all point at the one composite descriptor.",
        "mem.share.composite_offset",
    ),
    (
        r"Memory can't be cleared while being shared",
        "The clear flag is set for memory that its owner still uses.",
        "mem.share.clear_flag",
    ),
    (
        r"Reserved value for receiver permissions",
        "The permissions use a reserved value.",
        "mem.share.permission_reserved",
    ),
    (
        r"Invalid instruction access permissions .* for sending memory",
        "The sender must leave instruction access unspecified.",
        "mem.share.instruction_access",
    ),
    (
        r"Invalid data access permissions .* for (sharing|lending)",
        "To share or lend, data access must be RO or RW.",
        "mem.share.data_access_unspecified",
    ),
    (
        r"Invalid data access permissions .* for donating",
        "To donate, data access must be unspecified.",
        "mem.donate.data_access",
    ),
    (
        r"Invalid security state .* for memory share",
        "The NS bit of the attributes must be zero in a send.",
        "mem.share.ns_bit",
    ),
    (
        r"Invalid memory type .* for memory share",
        "The memory type must be unspecified to donate, or to lend to one borrower.",
        "mem.lend.type_specified",
    ),
    (
        r"(Normal|Device) Memory: Invalid cacheability|Invalid shareability",
        "Memory is Normal write-back inner-shareable, or Device-nGnRnE.",
        "mem.share.attributes",
    ),
    (
        r"Inconsistent modes|Tried to share memory in state",
        "A page is not the sender's own and exclusive: unmapped, already sent, or borrowed.",
        "mem.share.not_owned",
    ),
    (
        r"Sender tried to send memory with permissions",
        "The sender gives more access than it has.",
        "mem.share.permission",
    ),
    (
        r"Cannot zero memory when the sender",
        "Only memory one may write is cleared.",
        "mem.lend.clear_read_only",
    ),
    (
        r"Device memory can only be lent|Send device memory as Normal",
        "Device memory is lent to one borrower, as device memory.",
        "mem.share.device",
    ),
    (
        r"Composite page count differs",
        "The total page count is not the sum over the ranges.",
        "mem.share.page_count",
    ),
    (
        r"Overlapping memory ranges",
        "Two address ranges overlap.",
        "mem.share.overlapping_constituents",
    ),
    (
        r"FFA_MEM_DONATE only supports one recipient",
        "Memory is donated to one receiver.",
        "mem.donate.receivers",
    ),
    (
        r"Invalid handle .* for FFA_MEM_RE(LINQUISH|CLAIM)",
        "No transaction has this handle.",
        "mem.handle",
    ),
    (r"Incorrect tag", "The tag in the retrieve request is not the sender's.", "mem.retrieve.tag"),
    (
        r"Incorrect transaction type",
        "The type flag is not that of the transaction.",
        "mem.retrieve.type",
    ),
    (
        r"Incorrect receiver VM ID|does not contain caller's",
        "The caller is none of the receivers.",
        "mem.retrieve.borrower",
    ),
    (
        r"address range alignment .?hint",
        "Alignment hints are not supported.",
        "mem.retrieve.alignment_hint",
    ),
    (
        r"[Rr]etriever specified address ranges",
        "The relayer chooses the addresses.",
        "mem.retrieve.address_ranges",
    ),
    (
        r"Invalid data access requested",
        "More data access is asked for than was given.",
        "mem.retrieve.data_access",
    ),
    (r"already retrieved by", "The borrower has the memory already.", "mem.retrieve.again"),
    (
        r"X permissions is not permitted in|NS memory",
        "An SP does not execute non-secure memory.",
        "mem.retrieve.execute_non_secure",
    ),
    (
        r"not yet fully retrieved, ",
        "The caller has not retrieved the memory.",
        "mem.relinquish.not_retrieved",
    ),
    (
        r"Stream endpoints not supported",
        "A relinquish names one endpoint, the caller.",
        "mem.relinquish.endpoints",
    ),
    (
        r"Memory which was shared can't be cleared",
        "Shared memory is not cleared.",
        "mem.relinquish.share_clear",
    ),
    (
        r"Tried to reclaim memory handle .* that has",
        "A borrower still has the memory.",
        "mem.reclaim.retrieved",
    ),
    (
        r"attempted to reclaim memory handle",
        "The caller did not send this memory.",
        "mem.reclaim.owner",
    ),
    (r"Mailbox not released to producer", "RX was still full when the partition waited.", ""),
    (
        r"Sender can't sender direct message requests",
        "The sender lacks the property to send direct requests.",
        "direct.req.sender_property",
    ),
    (
        r"can't receive direct message",
        "The receiver lacks the property to receive direct requests.",
        "direct.req.receiver_property",
    ),
    (r"Receiver VM .* aborted", "The receiver has aborted.", "direct.req.receiver_aborted"),
    (
        r"Receiver service .* not found",
        "The receiver has no service with this UUID.",
        "direct.req2.uuid",
    ),
    (
        r"FFA_MSG_SEND_DIRECT_RESP2? must be used with",
        "A REQ is answered with a RESP, a REQ2 with a RESP2.",
        "direct.resp.kind",
    ),
    (r"vcpu_idx .* != pcpu index", "An MP partition's vCPU runs on its own PE.", "run.pinned"),
    (
        r"FFA_FEATURES: NS bit support must be 1",
        "An SP must know the NS bit.",
        "features.retrieve_ns_bit",
    ),
    (
        r"Only the receiver's scheduler can use this",
        "Only the scheduler asks for notifications.",
        "notification.info_get.scheduler",
    ),
    (
        r"No buffer pair registered on behalf",
        "FFA_RXTX_UNMAP without an RX/TX pair.",
        "rxtx.unmap.not_mapped",
    ),
    (r"Finished bootstrapping all SPs", "Every SP has initialised on this CPU.", ""),
)

TFA = _rows(
    "TF-A",
    (
        r"SPMD: .*[Uu]nsupported call 0x(?P<id>[0-9a-fA-F]+)",
        "The SPMD knows no function {id}.",
        "abi.unknown_function",
    ),
    (r"SPM Core run time EL: S?-?EL(?P<el>\d)", "The SPMC runs at S-EL{el}.", ""),
    (
        r"SPM Core .*[Ll]oad.*fail|Error initializing SPMC|Boot failure",
        "The SPMC did not initialise.",
        "",
    ),
    (
        r"SPMC initialized|SPM Core setup done|Found FF-A.*SPMC",
        "The SPMC has initialised; the normal world can be entered.",
        "",
    ),
    (r"BL31: Preparing for EL3 exit to normal world", "The normal world is entered.", ""),
    (
        r"Unhandled (Exception|External Abort) (in|at) EL3",
        "The monitor itself took an exception.",
        "",
    ),
)

MESSAGES = LINUX + OPTEE + HAFNIUM + TFA
