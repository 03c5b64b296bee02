"""Hafnium: the rarer refusals of calls, in both of its roles, as of July 2026."""

from ffabric.observe.messages.message import messages

RARE = messages(
    "Hafnium",
    # discovery and set-up
    (
        "Failed to acquire RX buffer for VM {endpoint}",
        "RX of {endpoint} is owned by the other world: a forwarded call is under way, or not over.",
        "rx.busy",
    ),
    (
        "Failed to copy ffa_partition_info descriptor",
        "RX is no memory that Hafnium can write any more.",
    ),
    (
        "No memory to hold all partition information",
        "More partitions than this build's buffer for one answer.",
    ),
    (
        "Failed to forward ffa_partition_info_get_regs",
        "The SPMC did not answer FFA_PARTITION_INFO_GET_REGS.",
    ),
    (
        "Invalid parameters. entries_count = {count}",
        "No partition has this UUID.",
        "discovery.uuid",
    ),
    (
        "Failed forwarding FFA_PARTITION_INFO_GET to the SPMC",
        "The SPMC refused; the hypervisor's RX/TX pair with it may not be mapped.",
    ),
    (
        "Invalid number of SPs returned by the SPMC",
        "The SPMC answers with more partitions than fit the hypervisor's RX.",
    ),
    (
        "Mailbox of endpoint {endpoint} has pending messages",
        "FFA_RX_RELEASE before the RX buffer full notification was read.",
        "rx.release.unseen",
    ),
    (
        "Mailbox of endpoint {endpoint} is in an incorrect state",
        "FFA_RX_RELEASE of an RX that the SPMC is filling.",
        "rx.release.empty",
    ),
    (
        "Mailbox of {endpoint} owned by SPMC",
        "RX of {endpoint} is being filled by the SPMC.",
        "rx.busy",
    ),
    (
        "FFA_RX_RELEASE forwarded failed for VM ID {endpoint}",
        "The SPMC does not hold that RX of {endpoint} is full.",
        "rx.release.empty",
    ),
    (
        "cannot map recv page",
        "RX is not memory that Hafnium can map: its address space or heap is full.",
        "abi.no_memory_for_tables",
    ),
    (
        "hypervisor has not provided RXTX buffers",
        "FFA_RXTX_MAP for a VM, before the hypervisor's own.",
        "rxtx.map.vm_mapped",
    ),
    (
        "RXTX descriptor offsets are not 8-byte aligned: rx_offset={rx}, tx_offset={tx}",
        "The endpoint RX/TX descriptor of a forwarded FFA_RXTX_MAP is malformed.",
        "abi.malformed_descriptor",
    ),
    (
        "Cannot map RX/TX for invalid VM ID {endpoint}",
        "{endpoint} is no id of a VM.",
        "rxtx.map.vm_id",
    ),
    (
        "Cannot map RX/TX for VM ID {endpoint}, not found",
        "The SPMC cannot keep state for another VM: its table is full.",
        "rxtx.map.vm_id",
    ),
    (
        "The Hypervisor must specify a valid VM ID in register W1",
        "A forwarded FFA_RXTX_UNMAP has no VM's id in w1.",
        "rxtx.unmap.id",
    ),
    (
        "Unknown error forwarding RXTX_UNMAP",
        "The SPMC answers a forwarded FFA_RXTX_UNMAP with a status that it cannot have.",
    ),
    (
        "Error {status} forwarding RX/TX buffers",
        "The SPMC refused the buffers of a VM; the hypervisor stops.",
    ),
    (
        "send page not mapped in NWd VM",
        "TX is memory that the normal world has not got, or has sent away.",
        "rxtx.map.access",
    ),
    (
        "recv page not mapped in NWd VM",
        "RX is memory that the normal world has not got, or has sent away.",
        "rxtx.map.access",
    ),
    (
        "send page is invalid (expected {expected}, got {found})",
        "TX is shared, lent or read-only.",
        "rxtx.map.access",
    ),
    (
        "recv page is invalid (expected {expected}, got {found})",
        "RX is shared, lent or read-only.",
        "rxtx.map.access",
    ),
    (
        "cannot unmap send page from NWd VM",
        "Hafnium's heap is used up.",
        "abi.no_memory_for_tables",
    ),
    (
        "cannot unmap recv page from NWd VM",
        "Hafnium's heap is used up.",
        "abi.no_memory_for_tables",
    ),
    (
        "FFA_FEATURE: {name} is only supported on SPs with more than 1 vCPU",
        "{name} is of no use to an SP with one execution context.",
        "features.function",
    ),
    (
        "of input_property should be 0 (input_property = {found})",
        "Reserved bits of the input properties are set.",
        "features.input_properties",
    ),
    (
        "FFA_RX_ACQUIRE not supported at this FF-A instance",
        "Only a hypervisor acquires RX of a VM.",
        "abi.unknown_function",
    ),
    (
        "FFA_RX_ACQUIRE: VM ID {endpoint} not found",
        "The SPMC knows no VM {endpoint}.",
        "rxtx.unknown_vm",
    ),
    (
        "FFA_RX_ACQUIRE: RX buffer not mapped for VM ID {endpoint}",
        "{endpoint} has no RX/TX pair at the SPMC.",
        "rx.no_buffers",
    ),
    (
        "No buffer registered for VM ID {endpoint}",
        "FFA_RX_RELEASE without an RX/TX pair.",
        "rx.no_buffers",
    ),
    # messages
    (
        "Overflow calculating message size (offset = {offset}, size = {size})",
        "Offset and size of the message header wrap.",
        "abi.malformed_descriptor",
    ),
    (
        "Failed to copy message to receiver's ({endpoint}) RX buffer",
        "RX of {endpoint} cannot be written any more.",
    ),
    (
        "Failed to copy message from sender's({endpoint}) TX buffer",
        "TX of {endpoint} cannot be read any more.",
    ),
    (
        "Sender VM ID must be zero",
        "w1 of FFA_MSG_SEND2 is zero unless a hypervisor passes it on.",
        "message.sender",
    ),
    (
        "Cannot send message from VM ID {endpoint}, not found",
        "The SPMC knows no VM {endpoint}.",
        "rxtx.unknown_vm",
    ),
    (
        "Cannot retrieve TX buffer for VM ID {endpoint}",
        "{endpoint} has no RX/TX pair.",
        "message.no_tx",
    ),
    ("flags must be zero", "Reserved flags of FFA_MSG_SEND2 are set.", "message.flags_mbz"),
    (
        "VM {endpoint} doesn't support indirect message",
        "Its manifest lacks the messaging method.",
        "message.receiver_property",
    ),
    (
        "Sender {endpoint} FF-A version ({version}) doesn't support Indirect Message",
        "FFA_MSG_SEND2 came with v1.1.",
        "abi.newer_than_negotiated",
    ),
    (
        "Failed forwarding FFA_MSG_SEND2_32 to the SPMC, got error {}({status})",
        "The SPMC refused the message.",
    ),
    (
        "SRI was NOT delayed. vcpu: {vcpu}",
        "The schedule receiver interrupt is raised at once.",
    ),
    (
        "Not forwarding: ffa_tee_enabled is false",
        "There is no SPMC: an SP is asked for and none can be there.",
        "direct.req.receiver",
    ),
    (
        "Not forwarding: receiver VM {endpoint} is in the same world",
        "{endpoint} is a VM.",
    ),
    ("Invalid vCPU!", "The receiver has no vCPU for this PE.", "direct.req.no_context"),
    (
        "Sender version does not allow usage of {call}",
        "The sender negotiated a version without {call}.",
        "abi.newer_than_negotiated",
    ),
    (
        "Receiver version does not allow usage of {call}",
        "The receiver negotiated a version without {call}.",
        "direct.req.receiver_property",
    ),
    (
        "w2 Must Be Zero",
        "w2 of a response has reserved flags.",
        "direct.resp.flags_mbz",
    ),
    (
        "VM availability messaging: could not find SP {endpoint}",
        "There is no SP {endpoint} for the hypervisor's message.",
        "direct.req.receiver",
    ),
    (
        "VM availability messaging: bits[{high}:{low}] of w5 are reserved",
        "The hypervisor's message has more than a VM's id in w5.",
        "abi.reserved_registers_sbz",
    ),
    (
        "VM availability messaging: w6 is reserved",
        "The hypervisor's message has a value in w6.",
        "abi.reserved_registers_sbz",
    ),
    (
        "VM availability messaging: w7 is reserved",
        "The hypervisor's message has a value in w7.",
        "abi.reserved_registers_sbz",
    ),
    (
        "Framework message: Invalid Sender ID: {sender} or Receiver ID: {receiver}",
        "A framework message goes between the SPMC and an SP.",
        "direct.req.framework_sender",
    ),
    (
        "Unknown function ID specified with framework message",
        "w2 is of no known framework message.",
        "direct.req.framework_message",
    ),
    (
        "Unexpected framework direct response message received from SP{endpoint}",
        "{endpoint} answers a framework message that it was not sent.",
        "direct.resp.framework",
    ),
    (
        "Unsupported framework message {found} sent through direct response by SP:{endpoint}",
        "w2 of the response of {endpoint} is of no known framework message.",
        "direct.resp.framework_message",
    ),
    # notifications
    (
        "FFA_NOTIFICATION_BITMAP_CREATE to be used by hypervisor for valid NWd VM IDs",
        "The id in w1 is none of a VM.",
        "notification.bitmap.vm",
    ),
    (
        "FFA_NOTIFICATION_BITMAP_DESTROY to be used by hypervisor for valid NWd VM IDs",
        "The id in w1 is none of a VM.",
        "notification.bitmap.vm",
    ),
    (
        "per-vCPU flag not supported",
        "A binding for each vCPU is asked for by a receiver that cannot have it.",
        "notification.bind.flags_mbz",
    ),
    (
        "Invalid use of notifications bind interface",
        "Sender or receiver in w1 are not possible here.",
        "notification.bind.receiver",
    ),
    (
        "Invalid use of notifications set interface",
        "Sender or receiver in w1 are not possible here.",
        "notification.set.sender",
    ),
    (
        "Receiver doesn't exist!",
        "There is no endpoint with the receiver's id.",
        "notification.set.receiver",
    ),
    (
        "Sender VM does not exist!",
        "There is no endpoint with the sender's id.",
        "notification.bind.sender",
    ),
    (
        "Receiver ID is not valid",
        "There is no endpoint with the receiver's id.",
        "notification.set.receiver",
    ),
    (
        "version should be GE to FF-A v1.1",
        "Notifications came with v1.1.",
        "abi.newer_than_negotiated",
    ),
    (
        "caller shouldn't set bits that MBZ",
        "Reserved bits of the flags are set.",
        "notification.set.flags_mbz",
    ),
    (
        "Invalid VCPU ID!",
        "The receiver has no such vCPU.",
        "notification.set.vcpu",
    ),
    (
        "Invalid VCPU ID {vcpu}. vcpu count {count} current core: {pe}",
        "The receiver has {count} vCPUs; {vcpu} is none of them, or pinned to another PE.",
        "notification.get.vcpu",
    ),
    (
        "Failed to get notifications from sps",
        "The SPMC refused to tell which notifications of SPs are pending.",
    ),
    (
        "Failed to get notifications from framework",
        "The SPMC refused to tell which framework notifications are pending.",
    ),
    (
        "Failed to set notifications from SPMC",
        "The SPMC refused a forwarded FFA_NOTIFICATION_SET.",
    ),
    (
        "Failed to create notifications bitmap to VM: {endpoint}; error: {status}",
        "The SPMC refused the bitmaps of VM {endpoint}.",
    ),
    (
        "No notifications returned by SPMC",
        "Nothing is pending in the secure world.",
        "notification.info_get.nothing",
    ),
    (
        "Notification bind: not permitted for logical SPs ({sender} {receiver})",
        "A logical partition has no notifications.",
        "notification.bind.sender",
    ),
    (
        "Notification set: not permitted for logical SPs ({sender} {receiver})",
        "A logical partition has no notifications.",
        "notification.set.receiver",
    ),
    (
        "Notification set: sender can't target itself. ({sender} == {receiver})",
        "An endpoint does not signal itself.",
        "notification.set.receiver",
    ),
    (
        "bind: VM must specify itself as receiver ({receiver}), and SP as sender({sender})",
        "A forwarded binding is a VM's, of an SP.",
        "notification.bind.receiver",
    ),
    (
        "Notification set: sender ({sender}) must be a VM and receiver ({receiver}) an SP",
        "A forwarded signal is a VM's, for an SP.",
        "notification.set.sender",
    ),
    (
        "No memory to create VM ID {endpoint}",
        "The SPMC keeps state for no more VMs.",
        "abi.no_memory_for_tables",
    ),
    (
        "Notification disabled for VM: {endpoint}",
        "The manifest of {endpoint} lacks notification-support.",
        "notification.set.receiver_disabled",
    ),
    (
        "Notification get flag from hypervisor in call to SPMC MBZ",
        "A forwarded FFA_NOTIFICATION_GET asks for notifications of VMs.",
        "notification.get.flags_mbz",
    ),
    # FFA_MEM_PERM_GET and FFA_MEM_PERM_SET
    (
        "FFA_MEM_PERM_GET: overflow calculating end_addr",
        "Address and page count wrap.",
        "mem.perm.page_count",
    ),
    (
        "FFA_MEM_PERM_SET: overflow calculating end_addr",
        "Address and page count wrap.",
        "mem.perm.page_count",
    ),
    (
        "FFA_MEM_PERM_SET: range has mismatched attributes",
        "The pages are not all the SP's own, or differ.",
        "mem.perm.not_owned",
    ),
    (
        "FFA_MEM_PERM_SET: remapping memory range {start} - {end} failed",
        "Hafnium's heap is used up.",
        "abi.no_memory_for_tables",
    ),
    # FFA_NS_RES_INFO_GET
    (
        "Valid flag set but target ID is 0",
        "FFA_NS_RES_INFO_GET asks for one endpoint and names none.",
        "resources.endpoint",
    ),
    (
        "Invalid target ID",
        "FFA_NS_RES_INFO_GET names an endpoint that is no SP.",
        "resources.endpoint",
    ),
    ("Invalid Endpoint ID: {endpoint}", "There is no SP {endpoint}.", "resources.endpoint"),
    ("Invalid resource type", "FFA_NS_RES_INFO_GET knows type 0 alone.", "resources.type"),
    (
        "No data has been generated",
        "FFA_NS_RES_INFO_GET goes on without having been started.",
        "resources.not_begun",
    ),
    (
        "Failed to copy to RX buffer of VM {endpoint}",
        "RX of {endpoint} cannot be written any more.",
    ),
    (
        "Failed to generate info",
        "FFA_NS_RES_INFO_GET could not be answered; the line before says why.",
    ),
    (
        "Max number of fragments reached!",
        "There is more to tell than FFA_NS_RES_INFO_GET has pages for.",
    ),
    (
        "FFA_NS_RES_INFO_GET not supported",
        "There is no SPMC that implements the call.",
        "abi.unknown_function",
    ),
    ("invalid receiver.", "There is no endpoint with this id.", "mem.send.receiver_unknown"),
    ("Failed to copy AMD descriptors", "The call's own pages cannot be written any more."),
    ("unable to remap send page to other world", "Hafnium's heap is used up."),
    ("unable to remap recv page to other world", "Hafnium's heap is used up."),
    ("Failed to get SPMC ID", "FFA_SPM_ID_GET was refused.", "spm_id.no_spmc"),
    (
        "Hypervisor version {version} not compatible with SPMC",
        "The SPMC answers FFA_VERSION with an older major version.",
        "version.major",
    ),
)
