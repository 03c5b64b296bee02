"""Linux: the arm_ffa bus driver (``ARM FF-A:``) and the optee driver over FF-A (``optee:``)."""

from ffabric.observe.messages.message import messages

ARM_FFA = messages(
    "Linux arm_ffa",
    (
        "ARM FF-A: Driver version {version}",
        "The FF-A driver starts; {version} is the newest version it knows.",
    ),
    (
        "ARM FF-A: Firmware version {version} found",
        "FFA_VERSION was answered with {version}, by the hypervisor or the SPMD.",
    ),
    (
        "ARM FF-A: Firmware version higher than driver version, downgrading",
        "The firmware is of a newer minor version; both keep to the driver's.",
    ),
    (
        "ARM FF-A: FFA_VERSION returned not supported",
        "Nobody below implements FF-A, or the driver's version is refused as incompatible.",
        "version.major",
    ),
    (
        "ARM FF-A: Incompatible v{found}! Earliest supported v{least}",
        "FFA_VERSION was answered with {found}, older than the {least} that the driver needs.",
        "version.major",
    ),
    (
        "ARM FF-A: Incompatible v{found}! Latest supported v{latest}",
        "FFA_VERSION was answered with {found}, of a later major version than {latest}.",
        "version.major",
    ),
    (
        "{}: invalid SMCCC conduit",
        "The devicetree, or ACPI, names neither SMC nor HVC: there is no PSCI node with a method.",
    ),
    (
        "ARM FF-A: {}: No such partition ID {endpoint}",
        "FFA_NOTIFICATION_INFO_GET named {endpoint}, which discovery did not report.",
        "notification.get.receiver",
    ),
    (
        "ARM FF-A: {}: failed to save part ID {endpoint} Ret:{errno}",
        "Partition {endpoint} was discovered, but the driver could not keep it.",
    ),
    (
        "ARM FF-A: {}: failed to register host partition ID {endpoint}",
        "The kernel's own id, {endpoint}, is also that of a partition that discovery reported.",
    ),
    (
        "ARM FF-A: invalid uuid ({uuid})",
        "A driver asked for {uuid}, which is no UUID.",
        "discovery.uuid",
    ),
    (
        "ARM FF-A: Error registering percpu {kind} nIRQ {irq} : {errno}",
        (
            "The interrupt that FFA_FEATURES told for the {kind} could not be taken: another "
            "driver has it, or it is none of this PE's own."
        ),
        "features.feature",
    ),
    (
        "ARM FF-A: Failed to register driver sched callback {errno}",
        "A partition's driver has a scheduler callback already.",
    ),
    (
        "ARM FF-A: invalid framework notification message",
        (
            "The framework notified of a full RX buffer, and the message there is not for the "
            "kernel, or leaves the buffer."
        ),
        "message.sender",
    ),
    (
        "ARM FF-A: failed to obtain VM id for self",
        "FFA_ID_GET was refused: whoever is below does not take the kernel for an endpoint.",
        "abi.unknown_function",
    ),
    (
        "ARM FF-A: failed to register FFA RxTx buffers",
        (
            "FFA_RXTX_MAP was refused. After kexec or a second driver: the earlier pair still "
            "is mapped. Otherwise the pages are not the kernel's own, or their size is not one "
            "that FFA_FEATURES(FFA_RXTX_MAP) told."
        ),
        "rxtx.map.mapped",
    ),
    (
        "ARM FF-A: failed to setup partitions",
        "FFA_PARTITION_INFO_GET failed or found no partition; the driver gives up.",
        "discovery.uuid",
    ),
    (
        "ARM FF-A: {}: No partitions found, error {errno}",
        "FFA_PARTITION_INFO_GET(_REGS) found nothing, or failed.",
        "discovery.uuid",
    ),
    (
        "ARM FF-A: {}: failed to register partition ID {endpoint}",
        "Partition {endpoint} was discovered, but the bus could not add a device for it.",
    ),
    (
        "ARM FF-A: {}: duplicate dev {} part ID {endpoint}",
        "Partition {endpoint} was described twice: its descriptors name one UUID more than once.",
    ),
    (
        "ARM FF-A: {}: Invalid partition ID {endpoint}",
        "A notification or callback concerns {endpoint}, which discovery did not report.",
        "notification.get.receiver",
    ),
    (
        "ARM FF-A: Notification setup failed {errno}, not enabled",
        (
            "Notifications stay off: FFA_FEATURES told neither an SRI nor an NPI, or its "
            "interrupt could not be mapped."
        ),
        "features.feature",
    ),
    (
        "ARM FF-A: Notification bitmap create error {errno}",
        (
            "FFA_NOTIFICATION_BITMAP_CREATE was refused: the bitmaps of the kernel's id exist "
            "already (as after kexec), or the vCPU count is not accepted."
        ),
        "notification.bitmap.exists",
    ),
    (
        "ARM FF-A: Notification Info fetch failed: {function} ({status})",
        "FFA_NOTIFICATION_INFO_GET was refused although an SRI was taken.",
        "notification.info_get.scheduler",
    ),
    (
        "Notification Info Get failed: {function} ({status})",
        "FFA_NOTIFICATION_INFO_GET was refused although an SRI was taken.",
        "notification.info_get.scheduler",
    ),
    (
        "ARM FF-A: Failed to retrieve notifications with {errno}!",
        "FFA_NOTIFICATION_GET was refused.",
        "notification.get.flags_mbz",
    ),
    (
        "ARM FF-A: Failed to register callback for {notification} - {errno}",
        "Somebody else has a callback for notification {notification} already.",
        "notification.bind.taken",
    ),
    (
        "ARM FF-A: Could not unregister notification callback",
        "The notification was not registered.",
        "notification.unbind.not_bound",
    ),
    (
        "ARM FF-A: Failed to retrieve FF-A {name} {}",
        "FFA_FEATURES of the {name} ... was refused otherwise than as unsupported.",
        "features.feature",
    ),
    (
        "ARM FF-A: Failed to create IRQ mapping!",
        (
            "FFA_FEATURES told an interrupt id that this kernel's GIC driver cannot map: it "
            "must be an SGI donated to the normal world."
        ),
    ),
    (
        "ARM FF-A: Memory Region Fragment > Tx Buffer size",
        "A driver shares more address ranges than TX holds, and the fragments do not line up.",
        "mem.send.length",
    ),
    (
        "ARM FF-A: ffa_features: Invalid Parameters: {id}, {properties}",
        (
            "A driver asked FFA_FEATURES for feature {id} with input properties, which only "
            "functions take."
        ),
        "features.input_properties",
    ),
    (
        "unable to register device {device} err={errno}",
        "The bus could not add {device}.",
    ),
)

OPTEE = messages(
    "Linux optee",
    (
        "optee: Incompatible OP-TEE API version {version}",
        (
            "The partition with OP-TEE's UUID answered OPTEE_FFA_GET_API_VERSION with "
            "{version}; the driver needs 1.0 or a later 1.x."
        ),
    ),
    (
        "optee: Unexpected exchange error {code}",
        "OP-TEE refused OPTEE_FFA_EXCHANGE_CAPABILITIES with {code}.",
    ),
    (
        "optee: Unexpected error {errno}",
        "A direct request to OP-TEE failed in FF-A, before OP-TEE saw it or instead of its answer.",
        "direct.req.receiver_busy",
    ),
    (
        "optee: Unregister SHM id {handle} rc {errno}",
        "The direct request that asks OP-TEE to give up handle {handle} failed.",
        "direct.req.receiver_busy",
    ),
    (
        "optee: Release SHM id {handle} rc {errno}",
        "The direct request that asks OP-TEE to release protected memory {handle} failed.",
        "direct.req.receiver_busy",
    ),
    (
        "optee: mem_reclaim: {handle} {errno}",
        (
            "FFA_MEM_RECLAIM of handle {handle} was refused; the usual reason is that OP-TEE "
            "has not relinquished it. The pages stay shared."
        ),
        "mem.reclaim.retrieved",
    ),
    (
        "optee: Failed to initialize async notifications: {errno}",
        "No notification could be bound for OP-TEE's bottom half.",
        "notification.bind.taken",
    ),
    (
        "optee: Unknown RPC func {code}",
        "OP-TEE asked for a service of the normal world that the driver does not know.",
    ),
    (
        "optee: Scanning for RPMB device: ret {errno}",
        "OP-TEE uses an RPMB, and looks for the device: there is none, or it serves no requests.",
    ),
    (
        "optee: PTA_CMD_GET_DEVICES invoke function err: {tee_result}",
        "OP-TEE's device enumeration answered {tee_result}: its TAs are no devices of the bus.",
    ),
    (
        "optee: tee_shm_alloc_kernel_buf failed",
        "Memory for the list of TAs could not be allocated, or not shared with OP-TEE.",
        "mem.share.not_owned",
    ),
    (
        "optee: device registration failed, err: {errno}",
        "A TA that OP-TEE enumerates could not be added: its UUID is there already.",
    ),
    (
        'optee: invalid "method" property: {method}',
        'The devicetree node has the method {method}; there are "smc" and "hvc".',
    ),
    (
        'optee: missing "method" property',
        "The devicetree node of OP-TEE does not say whether it is called by SMC or by HVC.",
    ),
    (
        "optee: api revision mismatch",
        "OPTEE_SMC_CALLS_REVISION answered another major version than 2.",
    ),
    (
        "optee: static shm service not available",
        "OPTEE_SMC_GET_SHM_CONFIG was refused: OP-TEE has no reserved shared memory.",
    ),
    (
        "optee: only normal cached shared memory supported",
        "OPTEE_SMC_GET_SHM_CONFIG told memory that is not cached.",
    ),
    (
        "optee: shared memory ioremap failed",
        "The reserved shared memory is no memory that the kernel can map.",
    ),
    (
        "optee: platform_get_irq: ret {errno}",
        (
            "OP-TEE offers asynchronous notifications, and its devicetree node has no interrupt, "
            "or one that the GIC does not know."
        ),
    ),
    (
        "optee: Protected memory service not available",
        "OP-TEE offers protected memory, and refuses to say which.",
    ),
    (
        "optee: capabilities mismatch",
        "OPTEE_SMC_EXCHANGE_CAPABILITIES was refused.",
    ),
    (
        "optee: {}: tee_shm_get_va {} failed",
        "OP-TEE named, for the message of an RPC, memory that the driver has not given it.",
    ),
    (
        "optee: dynamic shared memory is enabled",
        "OP-TEE takes any memory of the normal world, not only a reserved part.",
    ),
    (
        "optee: Asynchronous notifications enabled",
        "OP-TEE notifies of its own accord: by an interrupt, or by an FF-A notification.",
    ),
    ("optee: revision {version}", "OP-TEE {version} answers."),
    ("optee: initialized driver", "The driver and OP-TEE have agreed on capabilities."),
    (
        "optee: api uid mismatch",
        (
            "The driver probes OP-TEE's SMC interface, not FF-A, and nobody answers there: OP- "
            "TEE was built for FF-A, or the SPMD has no OP-TEE dispatcher."
        ),
    ),
)

TEE = messages(
    "Linux tee",
    (
        "login method not allowed for user-space client",
        "A program asked for a session as the kernel's own client (login 0x80000000 or above).",
    ),
    (
        "unregister shm {} failed: {errno}",
        "The TEE did not let go of memory that a program had registered.",
        "mem.reclaim.retrieved",
    ),
)
