"""Boot loaders: the arm_ffa driver of U-Boot and ArmFfaLib of EDK2, as of August 2026."""

from ffabric.observe.messages.message import messages

U_BOOT = messages(
    "U-Boot arm_ffa",
    (
        "NOT_SUPPORTED: A Firmware Framework implementation does not exist",
        "FFA_VERSION was answered with NOT_SUPPORTED: nobody below implements FF-A.",
        "version.major",
    ),
    (
        "NOT_SUPPORTED: FFA_RXTX_MAP is not implemented at this FF-A instance",
        "FFA_FEATURES(FFA_RXTX_MAP) was refused.",
        "features.function",
    ),
    (
        "NOT_SUPPORTED: FFA_RXTX_UNMAP is not implemented at this FF-A instance",
        "FFA_RXTX_UNMAP is not known.",
        "abi.unknown_function",
    ),
    (
        "NOT_SUPPORTED: FFA_RX_RELEASE is not implemented at this FF-A instance",
        "FFA_RX_RELEASE is not known.",
        "abi.unknown_function",
    ),
    (
        "NOT_SUPPORTED: This function is not implemented at this FF-A instance",
        "FFA_ID_GET, FFA_PARTITION_INFO_GET or FFA_RXTX_MAP is not known.",
        "abi.unknown_function",
    ),
    (
        "INVALID_PARAMETERS: Unrecognized UUID",
        "FFA_PARTITION_INFO_GET: no partition has this UUID.",
        "discovery.uuid",
    ),
    (
        "NO_MEMORY: Results cannot fit in RX buffer of the caller",
        "FFA_PARTITION_INFO_GET: the descriptors need more than RX has.",
        "discovery.rx_size",
    ),
    (
        "BUSY: RX buffer of the caller is not free",
        "FFA_PARTITION_INFO_GET before FFA_RX_RELEASE: RX is full.",
        "rx.busy",
    ),
    (
        "DENIED: Callee is not in a state to handle this request",
        "FFA_PARTITION_INFO_GET was refused with DENIED.",
    ),
    (
        "INVALID_PARAMETERS: No buffer pair registered on behalf of the caller",
        "FFA_RXTX_UNMAP: nothing is mapped.",
        "rxtx.unmap.not_mapped",
    ),
    (
        "DENIED: Caller did not have ownership of the RX buffer",
        "FFA_RX_RELEASE of an RX that is empty.",
        "rx.release.empty",
    ),
    (
        "INVALID_PARAMETERS: Field(s) in input parameters incorrectly encoded",
        "FFA_RXTX_MAP: an address, or the count of pages, cannot be.",
        "rxtx.map.alignment",
    ),
    ("NO_MEMORY: Not enough memory", "FFA_RXTX_MAP: the callee cannot map the buffers."),
    (
        "DENIED: Buffer pair already registered",
        "FFA_RXTX_MAP: buffers are mapped, perhaps by the boot stage before.",
        "rxtx.map.mapped",
    ),
    (
        "versions are incompatible",
        "FFA_VERSION was answered with another major version, or an older minor one.",
        "version.major",
    ),
    ("FF-A driver {version}", "The driver starts; {version} is the version it asks for."),
    ("FF-A framework {version}", "FFA_VERSION was answered with {version}."),
    ("FF-A endpoint ID is {endpoint}", "FFA_ID_GET was answered with {endpoint}."),
    ("FF-A partition ID {endpoint} : info cached", "Discovery told of partition {endpoint}."),
    (
        "FF-A partition ID {endpoint} matches the provided UUID",
        "Partition {endpoint} has the UUID that is looked for.",
    ),
    (
        "{count} FF-A partition(s) found and cached",
        "FFA_PARTITION_INFO_GET told of {count} partitions.",
    ),
    (
        "failed reading SP(s) data , err ({errno})",
        "FFA_PARTITION_INFO_GET failed, or told of nobody.",
        "discovery.uuid",
    ),
    (
        "partitions data size exceeds the RX buffer size",
        "FFA_PARTITION_INFO_GET says that there is more than RX can hold.",
    ),
    ("RX/TX buffer size not supported", "FFA_FEATURES tells a size of buffers that is reserved."),
    ("FF-A RX/TX buffers mapped", "FFA_RXTX_MAP was accepted."),
    ("unmapping FF-A RX/TX buffers", "FFA_RXTX_UNMAP follows: the operating system maps its own."),
    ("no partition detected", "FFA_PARTITION_INFO_GET tells of no partition.", "discovery.uuid"),
    ("no partition installed", "FFA_PARTITION_INFO_GET told of no partition before."),
    (
        "sizes in bytes: data {size} , RX buffer {limit}",
        "{size} bytes; RX has {limit}.",
        "discovery.rx_size",
    ),
    ("failure to allocate RX buffer", "The heap (CONFIG_SYS_MALLOC_LEN) is too small."),
    ("failure to allocate the TX buffer", "The heap (CONFIG_SYS_MALLOC_LEN) is too small."),
    ("cannot  allocate partitions data buffer", "The heap (CONFIG_SYS_MALLOC_LEN) is too small."),
    ("Cannot find FF-A bus device", "CONFIG_ARM_FFA_TRANSPORT is off, or FFA_VERSION was refused."),
    (
        "Failure in querying partition(s) info (error code: {code})",
        "armffa getpart: no partition has this UUID, or the SPMC refused.",
        "discovery.uuid",
    ),
    ("Partition ID can not be 0", "armffa ping names an SP: an id with bit 15 set."),
    (
        "Sending direct request error ({code})",
        "armffa ping: the SP does not exist, or takes no direct requests.",
        "direct.req.receiver",
    ),
    ("no UUID provided", "A driver asks for partitions and names no service."),
)

EDK2 = messages(
    "EDK2 ArmFfaLib",
    (
        "Incompatible FF-A Versions.",
        "FFA_VERSION was answered with another major version, or an older minor one.",
        "version.major",
    ),
    (
        "{}: Invalid Parameter for FunctionId: {function}",
        "FFA_FEATURES was asked for {function} with input properties that it does not take.",
        "features.input_properties",
    ),
    (
        "{}: Failed to get partition id. Status: {}",
        "FFA_ID_GET was refused.",
        "abi.unknown_function",
    ),
    (
        "{}, Failed to acquire partition ID. Status: {}",
        "FFA_ID_GET was refused.",
        "abi.unknown_function",
    ),
    (
        "{}: Failed to get partition information of {uuid}. Status: {}",
        "FFA_PARTITION_INFO_GET(_REGS): no partition has the UUID {uuid}, or the call is refused.",
        "discovery.uuid",
    ),
    (
        "{}: Failed to get RX/TX buffer property... Status: {}",
        "FFA_FEATURES(FFA_RXTX_MAP) was refused.",
        "features.function",
    ),
    (
        "{}: Failed to get Rx/Tx buffer property... Status: {}",
        "FFA_FEATURES(FFA_RXTX_MAP) was refused.",
        "features.function",
    ),
    (
        "{}: Invalid MinSizeAndAlign: {size}",
        "FFA_FEATURES(FFA_RXTX_MAP) tells {size}, a size of buffers that is reserved.",
    ),
    (
        "{}: Buffer is too small! MinSize: {least}, MaxSize: {most}, PageCount: {pages}",
        "PcdFfaTxRxPageCount is {pages}, and the callee takes from {least} to {most} bytes.",
        "rxtx.map.page_count",
    ),
    (
        "{}: Failed to map Rx/Tx buffer. Status: {}",
        "FFA_RXTX_MAP was refused.",
        "rxtx.map.mapped",
    ),
    (
        "{}: Failed to Map Rx/Tx buffer. Status: {}",
        "FFA_RXTX_MAP was refused.",
        "rxtx.map.mapped",
    ),
    (
        "{}: Failed to remap Rx/Tx buffer... Status: {}",
        "The buffers of the phase before were unmapped, and FFA_RXTX_MAP of new ones was refused.",
        "rxtx.map.mapped",
    ),
    (
        "{}: Failed to map with new Rx/Tx buffer. Status: {}",
        "The buffers of the phase before were unmapped, and FFA_RXTX_MAP of new ones was refused.",
        "rxtx.map.mapped",
    ),
    (
        "{}: Failed to unmap Rx/Tx buffer. Status: {}",
        "FFA_RXTX_UNMAP was refused: nothing is mapped.",
        "rxtx.unmap.not_mapped",
    ),
    (
        "{}, Failed to unmap Rx/Tx buffer. Status: {}",
        "FFA_RXTX_UNMAP was refused: nothing is mapped.",
        "rxtx.unmap.not_mapped",
    ),
    (
        "{} Rx/Tx buffer doesn't support.",
        "FFA_FEATURES(FFA_RXTX_MAP) says NOT_SUPPORTED: the library goes on without buffers.",
        "features.function",
    ),
    (
        "{} Rx/Tx buffer isn't supported.",
        "FFA_FEATURES(FFA_RXTX_MAP) says NOT_SUPPORTED: the library goes on without buffers.",
        "features.function",
    ),
    (
        "{} PARTITION_INFO_GET_REGS is available as an alternative to Rx/Tx buffer.",
        "Discovery goes by registers, for which no buffers are needed.",
    ),
    (
        "Failed to get {call} feature... Status: {status}",
        "FFA_FEATURES({call}) was refused: memory management is not possible here.",
        "features.function",
    ),
    (
        "Failed to get Tpm2 partition info. Status: {status}",
        "No partition has the UUID of the TPM service.",
        "discovery.uuid",
    ),
    ("Failed to get Rx/Tx Buffer. Status: {status}", "The RX/TX pair was not mapped before."),
    ("Failed to create Rx/Tx Buffer Info Hob", "The HOB list is full."),
    ("Failed to acquire RxTxBufferAllocationHob", "The RX/TX pair was not allocated before."),
    (
        "Failed to locate Rx/Tx buffer protocol",
        "A driver of StandaloneMm sends memory before the core has mapped RX/TX.",
    ),
)
