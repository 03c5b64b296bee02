"""Hafnium, as SPMC and as hypervisor: calls other than those of memory management."""

from ffabric.observe.messages.message import messages

HAFNIUM = messages(
    "Hafnium",
    ("Unsupported function {function}", "There is no such function here.", "abi.unknown_function"),
    (
        "FFA_VERSION: requested version {version} is invalid (highest bit must be zero)",
        "Bit 31 of w1 is set.",
        "version.reserved_bit",
    ),
    (
        "FFA_VERSION: requested version {asked} is not compatible with compiled version {own}",
        "The caller asks for {asked}; Hafnium implements {own}.",
        "version.major",
    ),
    (
        "FFA_VERSION: Cannot change FF-A version from {old} to {new} after other FF-A calls",
        "Version negotiation ends with the first other call.",
        "version.late",
    ),
    (
        "FFA_FEATURES: {name} is only supported",
        "{name} is not for this caller.",
        "features.function",
    ),
    (
        "FFA_FEATURES: NS bit support must be 1",
        "An SP of v1.1 or later must know the NS bit.",
        "features.retrieve_ns_bit",
    ),
    (
        "FFA_FEATURES: feature ID {id} is invalid",
        "Reserved bits of the feature id are set.",
        "features.feature",
    ),
    (
        "FFA_FEATURES: input_property must be 0",
        "Only functions have input properties.",
        "features.input_properties",
    ),
    ("Parameters passed through registers X4-X7 must be zero", "Reserved registers are set."),
    ("RX buffer not ready", "The receiver has no RX/TX pair, or owns its RX.", "rx.busy"),
    (
        "Partition information does not fit in the VM's RX buffer",
        "More partitions than RX holds.",
        "discovery.rx_size",
    ),
    ("Tag not 0. Unsupported tag", "The tag in x3 is zero here.", "discovery.regs.tag"),
    (
        "start index = {index} entries_count = {count}",
        "The start index is behind the last partition.",
        "discovery.regs.start_index",
    ),
    (
        "Mailbox of {endpoint} is empty",
        "FFA_RX_RELEASE of an RX that holds nothing.",
        "rx.release.empty",
    ),
    (
        "Mailbox not released to producer",
        "The partition waits although it still owns its RX: nobody can send to it.",
        "rx.busy",
    ),
    (
        "Mailboxes have already been setup for VM {endpoint}",
        "A second FFA_RXTX_MAP.",
        "rxtx.map.mapped",
    ),
    (
        "Page count must be {}, got {count}",
        "{count} pages are too few or too many.",
        "rxtx.map.page_count",
    ),
    ("Mailbox buffers not page-aligned", "RX and TX start on pages.", "rxtx.map.alignment"),
    ("Mailbox buffers overlap", "RX and TX are two buffers.", "rxtx.map.overlap"),
    (
        "VM doesn't have required access rights to map {buffer} buffer in stage 2",
        "{buffer} is not memory of the caller's own with RW access.",
        "rxtx.map.access",
    ),
    (
        "No buffer pair registered on behalf of the caller",
        "FFA_RXTX_UNMAP without an RX/TX pair.",
        "rxtx.unmap.not_mapped",
    ),
    (
        "The register W1 (containing ID) must be 0 at virtual instances",
        "w1 is not zero.",
        "rxtx.unmap.id",
    ),
    (
        "Cannot unmap RX/TX for VM ID {endpoint}, not found",
        "The SPMC knows no RX/TX pair of {endpoint}.",
        "rxtx.unknown_vm",
    ),
    ("Invalid `receiver_id`, must be zero", "w1 of FFA_RX_RELEASE is not zero.", "rx.release.id"),
    ("Mailbox busy for VM ID {endpoint}", "RX of {endpoint} is not free.", "rx.acquire.not_free"),
    (
        "Indirect messaging not supported in v1.0",
        "FFA_MSG_SEND2 came with v1.1.",
        "abi.newer_than_negotiated",
    ),
    (
        "Indirect message payload overlaps with header",
        "The payload's offset lies inside the header.",
        "abi.malformed_descriptor",
    ),
    ("Message is too big ({size} > {limit})", "The message does not fit.", "message.rx_size"),
    (
        "Message sender VM ID ({found}) doesn't match header's VM ID ({header})",
        "The header names {header} as sender; {found} calls.",
        "message.header_sender",
    ),
    ("Sender and receive VM IDs must be different", "A message to itself.", "message.self"),
    (
        "Cannot deliver message to VM {endpoint}, not found",
        "There is no endpoint {endpoint}.",
        "message.receiver",
    ),
    (
        "Cannot deliver message to VM {endpoint}, RX buffer not ready",
        "RX of {endpoint} is not mapped, or not released.",
        "rx.busy",
    ),
    (
        "VM {endpoint} can't send indirect messages",
        "Its manifest lacks the messaging method.",
        "message.sender_property",
    ),
    (
        "VM {endpoint} can't receive indirect messages",
        "Its manifest lacks the messaging method.",
        "message.receiver_property",
    ),
    (
        "Receiver {endpoint} FF-A version ({version}) doesn't support Indirect Message",
        "{endpoint} negotiated v1.0, which has no message header.",
        "message.receiver_version",
    ),
    (
        "Direct messaging: w2 must be zero (w2 = {found})",
        "Reserved flags are set.",
        "direct.req.flags_mbz",
    ),
    (
        "Invalid direct message request",
        "Sender or receiver in w1 are not possible here.",
        "direct.req.sender",
    ),
    ("Invalid Receiver!", "There is no such endpoint.", "direct.req.receiver"),
    (
        "UUID unrecognized for this VM",
        "The receiver has no service with this UUID.",
        "direct.req2.uuid",
    ),
    (
        "Direct message request not supported",
        "A property of sender or receiver is missing.",
        "direct.req.receiver_property",
    ),
    (
        "Sender can't sender direct message requests via {call}",
        "Its manifest lacks the method.",
        "direct.req.sender_property",
    ),
    (
        "can't receive direct message requests via {call}",
        "Its manifest lacks the method.",
        "direct.req.receiver_property",
    ),
    (
        "Receiver VM {endpoint} aborted, cannot run vCPU {vcpu}",
        "{endpoint} has aborted.",
        "direct.req.receiver_aborted",
    ),
    (
        "Receiver is busy with another request",
        "It has not answered the last one yet.",
        "direct.req.receiver_busy",
    ),
    (
        "VM {endpoint} was aborted, cannot run vCPU {vcpu}",
        "{endpoint} has aborted.",
        "run.target_aborted",
    ),
    (
        "Invalid direct response call",
        "No request is being served, or not of this sender.",
        "runtime.transition",
    ),
    (
        "Mismatch in framework message bit",
        "A framework message is answered with one.",
        "direct.resp.framework_message",
    ),
    (
        "FFA_MSG_SEND_DIRECT_RESP must be used with",
        "A REQ2 is answered with a RESP2.",
        "direct.resp.kind",
    ),
    (
        "FFA_MSG_SEND_DIRECT_RESP2 must be used with",
        "A REQ is answered with a RESP.",
        "direct.resp.kind",
    ),
    (
        "vcpu_idx ({vcpu}) != pcpu index ({pe})",
        "vCPU {vcpu} of an MP partition runs on PE {vcpu}.",
        "run.pinned",
    ),
    (
        "State transition denied",
        "The runtime model of the caller does not allow this call.",
        "runtime.transition",
    ),
    (
        "FFA_SECONDARY_EP_REGISTER can only be called while vCPU in run-time state",
        "The partition has initialised already.",
        "secondary.initialising",
    ),
    (
        "Notification bitmap already created",
        "The VM has its bitmaps.",
        "notification.bitmap.exists",
    ),
    (
        "Bitmap not created for VM: {endpoint}",
        "VM {endpoint} has no bitmaps at the SPMC.",
        "notification.bitmap.unknown",
    ),
    (
        "VM has notifications pending",
        "They must be read before the bitmaps go.",
        "notification.bitmap.pending",
    ),
    (
        "Notification bind: caller ({caller}) must be the receiver({receiver})",
        "{caller} binds for another.",
        "notification.bind.receiver",
    ),
    (
        "Notification set: caller ({caller}) must be the sender({sender})",
        "{caller} signals for another.",
        "notification.set.sender",
    ),
    ("No notifications have been specified", "The bitmap is empty.", "notification.no_bits"),
    (
        "Notifications are not enabled",
        "The manifest lacks notification-support.",
        "notification.bind.disabled",
    ),
    (
        "Receiver's notifications not enabled",
        "The receiver's manifest lacks notification-support.",
        "notification.set.receiver_disabled",
    ),
    (
        "Sender {endpoint} not permitted to set notifications",
        "Another sender has these bits.",
        "notification.bind.taken",
    ),
    (
        "Notifications not bound to sender",
        "The receiver has not bound these bits to the sender.",
        "notification.set.not_bound",
    ),
    (
        "Notifications within '{bits}' pending",
        "They must be read before they are rebound.",
        "notification.bind.pending",
    ),
    (
        "For global notifications vCPU ID MBZ",
        "The vCPU id of a global notification is zero.",
        "notification.set.global_vcpu",
    ),
    (
        "The delay SRI flag can only be set at the secure",
        "A VM does not delay the SRI.",
        "notification.set.flags_mbz",
    ),
    (
        "Invalid flags bit(s) set in notifications get",
        "Reserved flags are set.",
        "notification.get.flags_mbz",
    ),
    (
        "Invalid use of notifications get interface",
        "The receiver in w1 is not the caller.",
        "notification.get.receiver",
    ),
    (
        "Only the receiver's scheduler can use this interface",
        "An SP schedules nobody.",
        "notification.info_get.scheduler",
    ),
    (
        "Notification info get has no data to retrieve",
        "Nothing is pending, or all was reported.",
        "notification.info_get.nothing",
    ),
    (
        "VM availability messaging: SP {endpoint} is not subscribed",
        "The manifest of {endpoint} lacks vm-availability-messages.",
        "direct.req.framework_message",
    ),
    ("Interrupt {intid} does not belong to current SP", "The manifest gives it to another."),
    ("Managed exit cannot be supported by this partition", "Its manifest contradicts itself."),
    ("Data abort on EL0 partition", "An S-EL0 partition faulted and is aborted."),
    (
        "Stage-{stage} page fault: pc={pc}, vmid={endpoint}, vcpu={vcpu}, vaddr={address}",
        "{endpoint} touched {address}, which is not mapped for it this way.",
    ),
    ("Injecting Data Abort exception into VM {endpoint}", "{endpoint} touched what it may not."),
    (
        "Aborting VM {endpoint} vCPU {vcpu}",
        "{endpoint} faulted and is stopped.",
        "run.target_aborted",
    ),
    (
        "SMC {function} attempted from VM {endpoint}, blocked",
        "{endpoint} may not make this SMC.",
        "abi.unknown_function",
    ),
    (
        "FF-A partition manifest version v{found} is not compatible with compiled version v{own}",
        "The manifest's ffa-version is {found}.",
        "version.major",
    ),
    ("Messaging method {}: {method}", "The manifest's messaging-method has undefined bits."),
    ("Finished bootstrapping all SPs on CPU{pe}", "Every SP has initialised on this PE."),
    ("Panic: {what}", "Hafnium stopped itself."),
)
