"""TF-A: the SPMD and the SPMC at EL3 (``ERROR:``, ``WARNING:``, ``INFO:``, ``VERBOSE:``)."""

from ffabric.observe.messages.message import messages

SPMD = messages(
    "TF-A SPMD",
    (
        "SPM: Unsupported call {function}",
        "The SPMD knows no such function, or not from this world.",
        "abi.unknown_function",
    ),
    (
        "Unimplemented Standard Service Call: {function}",
        "BL31 has no service for this function: built without SPD=spmd, if it is one of FF-A.",
        "abi.unknown_function",
    ),
    (
        "Error initializing runtime service {service}",
        "A service of BL31 did not start; std_svc is the one with the SPMD.",
    ),
    (
        "SPMC initialisation failed {function}",
        "The SPMC did not end its initialisation with FFA_MSG_WAIT.",
    ),
    ("SPM Core setup done", "The SPMC's manifest is accepted; the SPMC starts next."),
    ("SPM Core init start", "The SPMC is entered for the first time."),
    ("SPM Core init end", "The SPMC has called FFA_MSG_WAIT: it has initialised."),
    ("SPM Core run time EL{el}.", "The SPMC runs at S-EL{el}."),
    (
        "SPM Core run time S-EL2 is not supported",
        "SPMD_SPM_AT_SEL2=1, but this PE has no S-EL2.",
    ),
    (
        "No or invalid SPM Core manifest image provided by BL2",
        "tos_fw_config.dtb is missing or is no device tree.",
    ),
    ("Invalid or absent SPM Core manifest", "tos_fw_config.dtb is missing or not as it must be."),
    (
        "SPM Core manifest absent in TRANSFER_LIST",
        "BL2 handed over a transfer list without the SPMC's manifest.",
    ),
    ("No SPM Core image provided by BL2 boot loader", "There is no BL32 to start as SPMC."),
    (
        "Booting device without SPM initialization",
        "The SPMC was not started: FF-A calls of the normal world will be refused.",
        "abi.unknown_function",
    ),
    (
        "Unsupported FFA version ({version})",
        "The SPMC's manifest asks for {version}, which this SPMD does not implement.",
        "version.major",
    ),
    (
        "Invalid ID ({endpoint}) for SPMC",
        (
            "spmc_id in the SPMC's manifest must have bit 15 set: {endpoint} is an id of the "
            "normal world."
        ),
    ),
    (
        "Failed to forward FFA_VERSION",
        (
            "The SPMC did not answer the framework message with which the SPMD passes on the "
            "normal world's version."
        ),
    ),
    (
        "SPMC encountered a fatal error. Aborting now",
        "The SPMC called FFA_ABORT: the whole system stops.",
    ),
    ("Group0 interrupt {intid} not handled", "A secure interrupt that EL3 has no handler for."),
    (
        "SPMC ignored PSCI CPU_OFF framework message",
        "The SPMC did not answer the power management message of CPU_OFF.",
    ),
    (
        "SPMC denied CPU_OFF power management request",
        "An SP may be running or resident on the PE that is to go off.",
    ),
    (
        "entry point is not within image boundaries",
        "FFA_SECONDARY_EP_REGISTER named an address outside of the SPMC.",
        "secondary.entry_point",
    ),
    ("BL31: Preparing for EL3 exit to normal world", "The normal world is entered next."),
    ("BL31: BL32 initialization failed", "The SPMC (or OP-TEE) did not initialise."),
    ("Unhandled Exception in EL3", "The monitor itself took an exception; registers follow."),
    ("PANIC in EL3", "The monitor stopped itself; registers follow."),
    ("FCONF: cannot read SP uuid", "An SP in tb_fw_config has no uuid."),
    ("FCONF: cannot read SP load address", "An SP in tb_fw_config has no load-address."),
)

SPMC = messages(
    "TF-A SPMC at EL3",
    ("Unsupported FF-A call {function}", "There is no such function here.", "abi.unknown_function"),
    ("Arg2 MBZ for partition messages. ({found})", "w2 must be zero.", "direct.req.flags_mbz"),
    (
        "Invalid message format {found}",
        "w2 is of no known framework message.",
        "direct.req.flags_mbz",
    ),
    (
        "Invalid direct request source ID ({endpoint})",
        "The sender id in w1 is not the caller's.",
        "direct.req.sender",
    ),
    (
        "Direct request not supported to the Normal World",
        "An SP sent a direct request to the normal world.",
        "direct.req.to_normal_world",
    ),
    (
        "Direct request to unknown partition ID ({endpoint})",
        "There is no SP {endpoint}.",
        "direct.req.receiver",
    ),
    (
        "SP context on core{pe} is not waiting ({state})",
        "The SP serves a request already, or has not initialised.",
        "direct.req.receiver_busy",
    ),
    (
        "Direct Response not supported from Normal World",
        "Only an SP serves direct requests.",
        "runtime.transition",
    ),
    (
        "Direct response to {kind} partition ID ({endpoint})",
        "{endpoint} cannot have sent a request.",
        "direct.resp.ids",
    ),
    (
        "SP context on core{pe} not handling direct req ({state})",
        "A response without a request.",
        "runtime.transition",
    ),
    (
        "Unmatched direct req/resp func id. req:{request}, resp:{response} on core{pe}",
        "A REQ is answered with a RESP of the same width, a REQ2 with a RESP2.",
        "direct.resp.kind",
    ),
    (
        "Invalid direct resp partition ID {found} != {expected} on core{pe}",
        "The response goes to {found}; the request came from {expected}.",
        "direct.resp.ids",
    ),
    ("Normal world cannot call FFA_MSG_WAIT", "Only an SP waits.", "runtime.transition"),
    (
        "Endpoint {endpoint} cannot renegotiate FF-A version",
        "Version negotiation ends with the first other call.",
        "version.late",
    ),
    (
        "FFA_VERSION: incompatible version {asked} (SPMC {own})",
        "The caller asks for {asked}, the SPMC implements {own}.",
        "version.major",
    ),
    (
        "TX Buffer must not be the same as RX Buffer",
        "RX and TX must be two buffers.",
        "rxtx.map.overlap",
    ),
    ("Buffer size must not be 0", "The page count is zero.", "rxtx.map.page_count"),
    (
        "Buffer size must be aligned to translation granule",
        "The buffers are not on pages.",
        "rxtx.map.alignment",
    ),
    ("RX/TX Buffers already mapped ({})", "A second FFA_RXTX_MAP.", "rxtx.map.mapped"),
    ("Unable to map TX buffer: {code}", "TX is not memory of the caller.", "rxtx.map.access"),
    ("Unable to map RX buffer: {code}", "RX is not memory of the caller.", "rxtx.map.access"),
    ("FFA_RUN can only be called from NWd", "An SP called FFA_RUN.", "runtime.transition"),
    (
        "Cannot run a NWd partition ({endpoint})",
        "{endpoint} is an id of the normal world.",
        "run.not_an_sp",
    ),
    ("Cannot run vcpu {asked} != {own}", "vCPU {asked} is pinned to another PE.", "run.pinned"),
    ("Partition ({endpoint}) is already running", "It is not preempted.", "run.target_busy"),
    (
        "buffer pair not registered",
        "The caller has no RX/TX pair.",
        "mem.send.no_buffer",
    ),
    (
        "bad fragment size {length} > {size} buffer size",
        "A fragment of {length} bytes does not fit TX ({size}).",
        "mem.send.length",
    ),
    (
        "bad first fragment size {length} < {least}",
        "The first fragment does not hold a whole descriptor.",
        "abi.malformed_descriptor",
    ),
    (
        "Overlapping mem regions {}",
        "Two address ranges overlap.",
        "mem.send.overlapping_constituents",
    ),
    (
        "mistmatch of endpoint counts {found} != {expected}",
        "The request names {found} receivers, the sender {expected}.",
        "mem.retrieve.receivers",
    ),
    (
        "invalid memory transaction flags {found} != {expected}",
        "A flag is set that this call does not have.",
        "mem.send.flags",
    ),
    (
        "NS mem attributes flags MBZ",
        "The NS bit of the attributes must be zero.",
        "mem.send.ns_bit",
    ),
    (
        "Invalid sender ID {endpoint}",
        "The sender in the descriptor is not the caller.",
        "mem.send.sender",
    ),
    ("Invalid receiver id {endpoint}", "There is no SP {endpoint}.", "mem.send.receiver_unknown"),
    ("Duplicated endpoint id {endpoint}", "{endpoint} is named twice.", "mem.send.receiver_twice"),
    (
        "mismatching offsets provided, {found} != {expected}",
        "The receivers do not refer to one composite descriptor.",
        "mem.send.composite_offset",
    ),
    (
        "address in region descriptor {index} not 4K aligned (got {address})",
        "Range {index} does not start on a page.",
        "mem.send.unaligned_base",
    ),
    (
        "desc total_page_count {found} != {expected}",
        "The total page count is {found}; the ranges have {expected}.",
        "mem.send.page_count",
    ),
    (
        "invalid object, computed size {expected} != size {found}",
        "The total length is not that of the descriptor.",
        "mem.send.total_length",
    ),
    (
        "unsupported share direction",
        "This SPMC takes memory from the normal world only.",
        "mem.send.receiver_world",
    ),
    (
        "custom memory region {} not supported",
        "Descriptors travel in TX only.",
        "mem.send.dynamic_buffer",
    ),
    ("invalid handle, {handle}, not a valid handle", "There is no such transaction.", "mem.handle"),
    (
        "wrong sender id {found} != {expected}",
        "The retrieve request names sender {found}; it was {expected}.",
        "mem.retrieve.sender",
    ),
    (
        "wrong tag {found} != {expected}",
        "The retrieve request has tag {found}; the sender's is {expected}.",
        "mem.retrieve.tag",
    ),
    (
        "wrong mem transaction flags {found} != {expected}",
        "The flags do not fit the transaction.",
        "mem.retrieve.type",
    ),
    (
        "RX Buffer is full!",
        "The caller owns its RX: FFA_RX_RELEASE is due.",
        "rx.busy",
    ),
    (
        "fragmented retrieve request not supported",
        "A retrieve request comes in one piece.",
        "mem.retrieve.length",
    ),
    (
        "invalid fragment_offset {found} expected {expected}",
        "The offset is not where the last fragment ended.",
        "mem.frag.offset",
    ),
    (
        "unsupported endpoint count {found} != 1",
        "A relinquish names one endpoint.",
        "mem.relinquish.endpoints",
    ),
    (
        "invalid endpoint ID {found} != {expected}",
        "The endpoint named is not the caller.",
        "mem.relinquish.endpoints",
    ),
    (
        "unsupported relinquish direction",
        "Only an SP borrows memory.",
        "mem.relinquish.borrower",
    ),
    (
        "unsupported reclaim direction",
        "Only the normal world sends memory here.",
        "mem.reclaim.owner",
    ),
    (
        "SP ({endpoint}) failed to initialize ({code})",
        "The SP did not end its initialisation with FFA_MSG_WAIT.",
    ),
    (
        "Secure Partition FF-A Version {found} is incompatible with SPMC {own}",
        "The manifest asks for {found}.",
        "version.major",
    ),
    ("Error in Secure Partition manifest parsing", "The line before says which property."),
)
