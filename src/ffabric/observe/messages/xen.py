"""Xen: the FF-A mediator (``(XEN) ... ffa:``, ``ARM FF-A``), as of August 2026."""

from ffabric.observe.messages.message import messages

XEN = messages(
    "Xen",
    # Start.
    (
        "ffa: unsupported SMCCC version {version} (need at least {least})",
        "The firmware implements SMCCC {version}; Xen needs {least} for calls with 18 registers.",
    ),
    (
        "ffa: Cannot retrieve the FFA version",
        "FFA_VERSION was answered with an error: nobody at EL3 implements FF-A.",
        "version.major",
    ),
    (
        "ffa: Incompatible firmware version {version}",
        "The firmware's FF-A is {version}, which the mediator cannot work with.",
        "version.major",
    ),
    ("ARM FF-A Firmware version {version}", "FFA_VERSION was answered with {version}."),
    (
        "ARM FF-A Firmware does not support {name}",
        "FFA_FEATURES({name}) was refused; the mediator needs it and stays off.",
        "features.function",
    ),
    (
        "ARM FF-A Firmware reports FFA_MSG_SEND2 without FFA_RX_ACQUIRE",
        "The SPMC offers indirect messages, but not the call that protects a VM's RX from it.",
        "features.function",
    ),
    (
        "ffa: assuming RX_ACQUIRE support",
        "Xen calls FFA_RX_ACQUIRE although FFA_FEATURES does not know it.",
    ),
    (
        "ffa: Error during RXTX buffer init",
        "Xen's own FFA_RXTX_MAP was refused by the SPMC.",
        "rxtx.map.mapped",
    ),
    (
        "ARM FF-A No firmware support",
        "There is no SPMC that Xen could use: VMs have FF-A among themselves at most.",
    ),
    (
        "ffa: VM to VM is enabled, system is insecure",
        "Messages between VMs are allowed to everybody: Xen does not judge who may talk to whom.",
    ),
    ("ARM FF-A Mediator version {version}", "The mediator answers VMs with FF-A {version}."),
    ("ARM FF-A only available between VMs", "There is no SPMC; VMs can talk to VMs."),
    (
        "ffa: unhandled fid {function}",
        "A VM made a call that the mediator does not implement; it gets NOT_SUPPORTED.",
        "abi.unknown_function",
    ),
    # Partitions.
    (
        "ffa: Firmware is not using bit 15 convention for IDs",
        "An SP's id has bit 15 clear, so Xen cannot tell it from a VM's.",
    ),
    (
        "ffa: Secure partition with id {endpoint} cannot be used",
        "Id {endpoint} has bit 15 clear: a VM might have it, so Xen hides the SP.",
    ),
    (
        "ffa: Failed to get list of SPs: {status}",
        "Xen's FFA_PARTITION_INFO_GET was refused.",
        "rx.no_buffers",
    ),
    (
        "ffa: More SPs than the maximum supported: {count} - {most}",
        "There are {count} SPs; this build of Xen has room for {most}.",
    ),
    ("ffa: Failed to cache SP list", "Xen has no memory for the list of SPs."),
    (
        "ffa: Error releasing SPMC RX buffer: {status}",
        "Xen's FFA_RX_RELEASE was refused: the SPMC does not think that Xen has its RX.",
        "rx.release.empty",
    ),
    (
        "ffa: Failed to report creation of vm_id {vm} to  {endpoint}: res {status}",
        "SP {endpoint} did not accept the framework message that VM {vm} exists.",
    ),
    (
        "ffa: Failed to report destruction of vm_id {vm} to {endpoint}: res {status}",
        "SP {endpoint} did not accept the framework message that VM {vm} is gone; Xen tries again.",
    ),
    # Messages.
    (
        "ffa: direct req fid {function} not supported",
        "A VM sent a direct request of a kind that the SPMC, or the VM's version, does not know.",
        "abi.newer_than_negotiated",
    ),
    (
        "ffa: direct req invalid src/dst {ids}",
        "w1 of a VM's direct request is {ids}: the sender is not the VM, or it asks itself.",
        "direct.req.sender",
    ),
    (
        "ffa: direct req to non-secure dst {endpoint}",
        "A VM sent a direct request to {endpoint}, which is no SP; Xen relays to SPs only.",
        "direct.req.to_normal_world",
    ),
    (
        "ffa: msg_send2 lookup failed: dst {endpoint} ret {status}",
        "FFA_MSG_SEND2 names {endpoint}, and there is no such VM.",
        "message.receiver",
    ),
    (
        "ffa: msg_send2 to VM disabled (dst {endpoint})",
        "FFA_MSG_SEND2 names VM {endpoint}, and this Xen does not pass messages between VMs.",
        "message.receiver",
    ),
    (
        "ffa: msg_send2 to SP not supported",
        "FFA_MSG_SEND2 names an SP, and the SPMC has no indirect messages.",
    ),
    (
        "ffa: msg_send2 to SP requires RX_ACQUIRE",
        "FFA_MSG_SEND2 names an SP, and the SPMC does not implement FFA_RX_ACQUIRE.",
    ),
    ("ffa: msg_send2 to SP failed: {status}", "The SPMC refused a VM's FFA_MSG_SEND2."),
    (
        "ffa: msg_send2 to {endpoint} failed: {status}",
        "FFA_MSG_SEND2 to {endpoint} was refused: its RX is full or missing, or the text too long.",
        "rx.busy",
    ),
    (
        "ffa: msg_send2 TX acquire failed: {status}",
        "FFA_MSG_SEND2 of a VM without a TX, or whose TX another of its vCPUs is using.",
        "message.no_tx",
    ),
    (
        "ffa: msg_send2 invalid src/dst src {sender} dst {receiver}",
        "The header in TX has sender {sender} and receiver {receiver}: not the VM's, or the same.",
        "message.header_sender",
    ),
    (
        "ffa: msg_send2 invalid msg_offset {offset}",
        "The header in TX says that the message begins at {offset}, inside the header itself.",
        "abi.malformed_descriptor",
    ),
    (
        "ffa: msg_send2 invalid msg_size {size} offset {offset} tx {room}",
        "A message of {size} bytes at {offset} does not fit into a TX of {room}.",
        "abi.malformed_descriptor",
    ),
    (
        "ffa: run fid {function} not supported",
        "A VM called FFA_RUN, which the SPMC does not implement.",
    ),
    (
        "ffa: run to non-secure dst {endpoint}",
        "A VM called FFA_RUN for {endpoint}, which is no SP.",
        "run.not_an_sp",
    ),
    # Notifications.
    (
        "ffa: can't inject NPI, all vCPUs offline",
        "Notifications are pending for a VM none of whose vCPUs is on; it will find them later.",
    ),
    (
        "ffa: notification info get failed: error {status}",
        "FFA_NOTIFICATION_INFO_GET was refused although the Schedule Receiver Interrupt was taken.",
        "notification.info_get.scheduler",
    ),
    (
        "ffa: request_irq irq {intid} failed: error {code}",
        "Xen cannot have interrupt {intid} as its Schedule Receiver Interrupt.",
    ),
    # Buffers.
    (
        "ffa: RXTX_MAP: error: {pages} pages requested (limit {most})",
        "FFA_RXTX_MAP of {pages} pages; Xen maps from 1 to {most}.",
        "rxtx.map.page_count",
    ),
    (
        "ffa: RX release during teardown failed: {status}",
        "When the VM came to its end, the SPMC refused to release its RX.",
        "rx.release.empty",
    ),
    (
        "ffa: RXTX_UNMAP denied, RX buffer owned by VM",
        "FFA_RXTX_UNMAP before FFA_RX_RELEASE: RX is full, and the VM's.",
    ),
    (
        "ffa: RX acquire denied, no RX/TX mapped",
        "Something is for the VM's RX, and it has none.",
        "rx.no_buffers",
    ),
    (
        "ffa: RX acquire busy",
        "Something is for the VM's RX, and the VM has not released it.",
        "rx.busy",
    ),
    ("ffa: RX acquire failed: {status}", "The SPMC refused FFA_RX_ACQUIRE.", "rx.acquire.not_free"),
    ("ffa: TX acquire busy", "Two vCPUs of a VM make calls that read TX at once."),
    (
        "ffa: TX acquire denied, no RX/TX mapped",
        "A call that reads TX, of a VM that has mapped none.",
        "message.no_tx",
    ),
    (
        "ffa: TX acquire denied, TX buffer missing",
        "A call that reads TX, of a VM whose TX is gone.",
        "message.no_tx",
    ),
    # Memory.
    (
        "ffa: mem share pages invalid: unaligned range {range} address {address}",
        "Address range {range} of FFA_MEM_SHARE begins at {address}, not at a page.",
        "mem.send.unaligned_base",
    ),
    (
        "ffa: mem share pages invalid: range overflow rg {range} pg {page}",
        "Up to range {range} there are more pages than the composite descriptor declares.",
        "mem.send.page_count",
    ),
    (
        "ffa: mem share pages invalid: addr overflow rg {range} pg {page} base {address}",
        "Range {range}, from {address} on, goes beyond the last address.",
        "mem.send.range_end",
    ),
    (
        "ffa: mem share pages invalid: gfn unmapped rg {range} pg {page} addr {address}",
        "The VM has no memory at {address}.",
        "mem.send.not_owned",
    ),
    (
        "ffa: mem share pages invalid: p2m type {type} rg {range} pg {page} addr {address}",
        "The page at {address} is no ordinary memory of the VM: a grant, a device, or read-only.",
        "mem.send.not_owned",
    ),
    (
        "ffa: mem share pages invalid: range short pg {page}",
        "The ranges end after {page} pages, fewer than the composite descriptor declares.",
        "mem.send.page_count",
    ),
    ("ffa: Reclaimed handle {handle}", "A VM came to its end and left {handle}: Xen took it back."),
    (
        "ffa: Failed to reclaim handle {handle} : {status}",
        "A VM came to its end, and an SP has not relinquished {handle} yet; Xen tries again.",
        "mem.reclaim.retrieved",
    ),
    (
        "ffa: Permanent failure to reclaim handle {handle} : {status}",
        "The SPMC will not give {handle} back: Xen keeps the pages of the dead VM for ever.",
        "mem.handle",
    ),
)
