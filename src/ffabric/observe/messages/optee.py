"""OP-TEE as a partition (below an SPMC at S-EL2) and as an SPMC at S-EL1: ``E/TC:``, ``D/TC:``."""

from ffabric.observe.messages.message import messages

CLIENTS = messages(
    "a client of OP-TEE",
    (
        "failed with code {tee_result} origin {tee_origin}",
        "A call of the TEE Client API was answered with {tee_result}.",
    ),
)

OPTEE = messages(
    "OP-TEE",
    (
        "Failed for TA {uuid}. Return error {tee_result}",
        "The TA {uuid} refused a session, or could not be loaded.",
    ),
    (
        "ldelf failed with res: {tee_result}",
        "A TA could not be loaded; ITEM_NOT_FOUND: neither OP-TEE nor tee-supplicant has it.",
    ),
    (
        "Failed to relinquish cookie {handle}",
        "FFA_MEM_RELINQUISH of handle {handle} was refused: OP-TEE has not retrieved it.",
        "mem.relinquish.not_retrieved",
    ),
    (
        "Failed to fetch cookie {handle} error code {status}",
        "FFA_MEM_RETRIEVE_REQ of handle {handle} was refused.",
        "mem.handle",
    ),
    (
        "Failed to fetch cookie {handle} a0 {function}",
        (
            "FFA_MEM_RETRIEVE_REQ of handle {handle} was answered with another call than "
            "FFA_MEM_RETRIEVE_RESP."
        ),
        "mem.handle",
    ),
    (
        "Memory transaction failure for cookie {handle} rc {code}",
        "What FFA_MEM_RETRIEVE_RESP describes for handle {handle} cannot be mapped by OP-TEE.",
    ),
    (
        "Failed to retrieve cookie from rx buffer {handle}",
        "The sender's pages of handle {handle} could not be made a memory object.",
    ),
    (
        "Failed to get cookie {handle} internal_offs {offset}",
        "A message names shared memory {handle} that OP-TEE cannot retrieve.",
        "mem.handle",
    ),
    (
        "FFA_MEM_FRAG_RX: ret {status}",
        "A later fragment of a retrieve response was refused.",
        "mem.frag.offset",
    ),
    (
        "Bad tx fid {function}",
        "FFA_MEM_FRAG_RX was answered with another call than FFA_MEM_FRAG_TX.",
        "mem.frag.handle",
    ),
    (
        "Bad cookie {handle} expected {expected}",
        "FFA_MEM_FRAG_TX delivers {handle} while {expected} is being retrieved.",
        "mem.frag.handle",
    ),
    (
        "Bad frag_len {length}",
        "A fragment of {length} bytes does not hold whole address ranges or exceeds the buffer.",
        "mem.frag.length",
    ),
    (
        "Unhandled FFA function ID {function}",
        (
            "A call or answer reached OP-TEE that it has no handler for. 0xffffffff is "
            "NOT_SUPPORTED from somebody below who knows no FF-A (as with SPD=opteed)."
        ),
        "abi.unknown_function",
    ),
    (
        "Unhandled blocking service ID {id}",
        "A direct request asks for service {id} that OP-TEE does not have.",
    ),
    (
        "Cannot handle FFA_ERROR({status})",
        "OP-TEE was resumed with FFA_ERROR where it waited for a request.",
    ),
    ("FFA_ERROR from SPMC is fatal", "OP-TEE stops: the SPMC resumed it with FFA_ERROR."),
    (
        "notification set failed with error {status}",
        (
            "FFA_NOTIFICATION_SET was refused: the normal world has not bound OP-TEE's "
            "notification, or has no notification bitmaps."
        ),
        "notification.set.not_bound",
    ),
    (
        "Asynchronous notifications are not ready",
        "The normal world has not enabled them (OPTEE_FFA_ENABLE_ASYNC_NOTIF).",
    ),
    ("Asynchronous notifications are ready", "The normal world has enabled them."),
    (
        "rxtx map failed with error {status}",
        "FFA_RXTX_MAP was refused.",
        "rxtx.map.access",
    ),
    ("Get id failed with error {status}", "FFA_ID_GET was refused.", "abi.unknown_function"),
    ("Get spm id failed with error {status}", "FFA_SPM_ID_GET was refused.", "spm_id.no_spmc"),
    (
        "FF-A version failed with error {status}",
        "FFA_VERSION was refused: another major version, or nobody below implements FF-A.",
        "version.major",
    ),
    (
        "Incompatible major version {found}, expected {expected}",
        "FFA_VERSION was answered with major version {found}; OP-TEE implements {expected}.",
        "version.major",
    ),
    (
        "SPMC reported version {version}",
        "FFA_VERSION was answered with {version}.",
    ),
    (
        "FFA_SECONDARY_EP_REGISTER_64 ret {function}",
        (
            "OP-TEE's entry point for secondary PEs was refused; it will run on one PE only. "
            "0xffffffffffffffff is NOT_SUPPORTED from somebody below who knows no FF-A."
        ),
        "secondary.multiprocessor",
    ),
    (
        "Invalid FF-A manifest at {address}: error {code}",
        "The boot information points at {address}, where OP-TEE finds no device tree.",
    ),
    (
        "Bad boot info signature {found}",
        "x0 does not point at FF-A boot information: {found} stands where 0xffa is expected.",
    ),
    (
        "Bad boot info version {found}",
        "The boot information is of a version that OP-TEE does not read.",
    ),
    (
        "mismatching internal_offs got {found} expected {expected}",
        "A message names an offset {found} in shared memory that was registered with {expected}.",
    ),
    (
        "cookie {handle} busy refc {count}",
        "The normal world unregisters {handle} while OP-TEE still uses it ({count} references).",
        "mem.reclaim.retrieved",
    ),
    (
        "cookie {handle} busy inactive_refs {count}",
        "The normal world unregisters {handle} while a message still names it.",
        "mem.reclaim.retrieved",
    ),
    (
        "mobj_ffa_get_by_cookie({handle}, {}): failed",
        "The message of a direct request lies in shared memory {handle} that OP-TEE cannot get.",
        "mem.handle",
    ),
    ("Can't find cookie {handle}", "No shared memory is registered as {handle}.", "mem.handle"),
    ("Added guest {guest}", "OP-TEE has a context of its own for VM {guest} (VM created)."),
    ("Removing guest {guest}", "OP-TEE drops the context of VM {guest} (VM destroyed)."),
    (
        "Client with id {guest} is not found",
        (
            "VM {guest} calls OP-TEE, which was told of no such VM: virtualized OP-TEE needs "
            "the VM created message (manifest: vm-availability-messages)."
        ),
    ),
    ("Panic '{}' at {where}", "OP-TEE stopped itself at {where}."),
    ("Panic at {where}", "OP-TEE stopped itself at {where}."),
    ("switching to normal world boot", "OP-TEE has initialised on this PE and waits."),
)

SPMC = messages(
    "OP-TEE SPMC",
    (
        "Neither destination nor source is a SP",
        "A direct message went past OP-TEE's SPs.",
        "direct.req.receiver",
    ),
    (
        "Source address doesn't match the endpoint id",
        "The sender id in w1 is not the caller's.",
        "direct.req.sender",
    ),
    ("Cannot send message to own ID", "Sender and receiver are one.", "direct.req.self"),
    (
        "SP {endpoint} doesn't support sending direct requests",
        "The manifest of {endpoint} lacks that messaging method.",
        "direct.req.sender_property",
    ),
    (
        "SP {endpoint} doesn't support receipt of direct requests",
        "The manifest of {endpoint} lacks that messaging method.",
        "direct.req.receiver_property",
    ),
    (
        "Request to normal world not supported",
        "An SP sent a direct request to the normal world.",
        "direct.req.to_normal_world",
    ),
    (
        "SP is not waiting for a request",
        "The SP already serves one.",
        "direct.req.receiver_busy",
    ),
    ("SP is busy", "The SP already serves a request.", "direct.req.receiver_busy"),
    (
        "FFA_MSG_SEND_DIRECT_RESP to incorrect SP",
        "The response does not go to the sender of the request.",
        "direct.resp.ids",
    ),
    (
        "Direct response type doesn't match direct request",
        "A REQ is answered with a RESP, a REQ2 with a RESP2.",
        "direct.resp.kind",
    ),
    (
        "Fragmented memory share is not supported for SPs",
        "An SP sent a memory descriptor in fragments.",
        "mem.send.length",
    ),
    ("Incorrect tag {found} {expected}", "The tag is not the sender's.", "mem.retrieve.tag"),
    (
        "Incorrect memshare permission set",
        "The borrower asks for access it was not given, or for none at all.",
        "mem.retrieve.data_access",
    ),
    (
        "CLEAR_RELINQUISH is not allowed for FFA_SHARE",
        "Shared memory is not cleared.",
        "mem.retrieve.share_clear",
    ),
    ("Incorrect endpoint count", "A relinquish names one endpoint.", "mem.relinquish.endpoints"),
    ("Incorrect endpoint id", "The endpoint named is not the caller.", "mem.relinquish.endpoints"),
    (
        "To many relinquish requests",
        "The SP gives back what it has not retrieved (any more).",
        "mem.relinquish.not_retrieved",
    ),
    (
        "Undefined endpoint id {endpoint}",
        "StMM sent its message to {endpoint}, which is no endpoint of its.",
        "direct.req.receiver",
    ),
    ("Mandatory property is missing: {property}", "The SP's manifest lacks {property}."),
    ("Mandatory field is missing: {property}", "A region of the SP's manifest lacks {property}."),
    ("Managed exit is not implemented", "The manifest asks for ns-interrupts-action 1."),
    ("Found duplicated endpoint ID {endpoint}", "Two SPs have id {endpoint}."),
    (
        "SP panicked with code  {code}",
        "The SP's software stopped or faulted; the SPMC ends it.",
        "direct.req.receiver_aborted",
    ),
    (
        "stmm panicked with code {code}",
        "StandaloneMM stopped or faulted; the SPMC ends it.",
        "direct.req.receiver_aborted",
    ),
)
