"""Hafnium: manifests, packages and what is loaded from them, as of July 2026."""

from ffabric.observe.messages.message import messages

MANIFEST = messages(
    "Hafnium",
    # what follows "Could not parse manifest: "
    (
        "Could not parse manifest: Total size in header does not match file size",
        "A manifest's device tree is cut short, or padded: its header has another size.",
    ),
    (
        "Could not parse manifest: Could not find root node in manifest",
        "The file is no device tree with a root node.",
    ),
    (
        'Could not parse manifest: Could not find "hypervisor" node in manifest',
        "Hafnium's own manifest needs a node /hypervisor.",
    ),
    (
        "Could not parse manifest: Hypervisor manifest entry not compatible with Hafnium",
        'The node /hypervisor needs compatible = "hafnium,hafnium".',
    ),
    (
        "Could not parse manifest: Manifest defines a VM with a reserved ID",
        "Id 0 is Hafnium's own: nodes count from vm1.",
    ),
    (
        "Could not parse manifest: Manifest does not contain a primary VM entry",
        "The hypervisor's manifest needs a node vm1, the primary VM.",
    ),
    (
        "Could not parse manifest: Manifest specifies more VMs than Hafnium has",
        "This build's MAX_VMS is smaller than the number of vm nodes.",
    ),
    (
        "Could not parse manifest: Property not found",
        "A property that must be there is missing; the last property told of is the one before it.",
    ),
    (
        "Could not parse manifest: Malformed string property",
        "A string has no end, or the property is none.",
    ),
    ("Could not parse manifest: String too long", "A name or file name exceeds Hafnium's buffer."),
    (
        "Could not parse manifest: Malformed integer property",
        "An integer property is of another size than one or two cells.",
    ),
    (
        "Could not parse manifest: Integer overflow",
        "A value does not fit its field: two cells where 8, 16 or 32 bits are kept.",
    ),
    (
        "Could not parse manifest: Malformed integer list property",
        "The length of a list of integers is no multiple of a cell.",
    ),
    (
        "Could not parse manifest: Malformed boolean property",
        "A boolean is there or not: it has no value.",
    ),
    (
        "Could not parse manifest: Memory-region node should have at least one entry",
        "The node memory-regions has no sub-node: leave it out.",
    ),
    (
        "Could not parse manifest: Device-region node should have at least one entry",
        "The node device-regions has no sub-node: leave it out.",
    ),
    (
        "Could not parse manifest: RX and TX buffers should be of same size",
        "The regions that rx_tx-info names have different pages-count.",
        "rxtx.map.page_count",
    ),
    (
        "Could not parse manifest: Memory region should have at least one page",
        "pages-count of a memory or device region is zero.",
    ),
    (
        "Could not parse manifest: Base and relative addresses are mutually exclusive",
        "A region has base-address and load-address-relative-offset: keep one.",
    ),
    (
        "Could not parse manifest: Memory region overlaps with one already allocated",
        "A region lies over another one of this or an earlier partition, or over an image.",
    ),
    (
        "Could not parse manifest: Memory region is not aligned to a page boundary",
        "base-address of a region is no multiple of 4 KiB.",
    ),
    (
        "Could not parse manifest: Memory permission should be RO, RW or RX",
        "attributes of a region ask for another combination, or for write and execute.",
    ),
    (
        "Could not parse manifest: Interrupt ID already assigned to another endpoint",
        "Two partitions' device regions name one interrupt.",
    ),
    (
        "Could not parse manifest: Illegal value specified for the field: Action in response to NS",
        "ns-interrupts-action is 0 (queued), 1 (managed exit) or 2 (signalled).",
    ),
    (
        "Could not parse manifest: Illegal value specified for the field: SRI Policy",
        "sri-interrupts-policy has bits other than 0 and 1.",
    ),
    (
        "Could not parse manifest: S-EL0 Partitions do not support the SRI trigger policy",
        "Leave sri-interrupts-policy out of the manifest of an S-EL0 partition.",
    ),
    (
        "Could not parse manifest: Interrupt ID is not in the list of interrupts",
        "interrupts-target names an interrupt that interrupts of the device region does not.",
    ),
    (
        "Could not parse manifest: Illegal value specified for the field: Action in response to O",
        "other-s-interrupts-action is 0 (queued) or 1 (signalled).",
    ),
    (
        "Could not parse manifest: Memory nodes must be defined in the SPMC manifest",
        "The SPMC's manifest needs nodes of device_type memory and ns-memory.",
    ),
    (
        "Could not parse manifest: Invalid memory region range",
        "A memory region lies outside of the memory that the SPMC's manifest describes.",
    ),
    (
        "Could not parse manifest: Invalid device memory region range",
        "A device region lies outside of the SPMC manifest's device-memory, or inside its memory.",
    ),
    (
        "Could not parse manifest: Boot order should be a unique value less than",
        "boot-order is given twice, or too large.",
    ),
    (
        "Could not parse manifest: Mismatch between UUIDs and corresponding messaging methods",
        "messaging-method holds one value for all UUIDs, or one for each.",
    ),
    (
        "Could not parse manifest: Invalid Messaging method specified",
        "messaging-method has bits that this version of FF-A or this kind of partition lacks.",
    ),
    ("Could not parse manifest: UUID should not be NIL", "A service has the UUID of zeros."),
    (
        "Could not parse manifest: Manifest specifies more UUIDs than Hafnium has",
        "The property uuid holds more UUIDs than this build's PARTITION_MAX_UUIDS.",
    ),
    (
        "Could not parse manifest: The UUID is not specified in the required format",
        "uuid is four cells a service, or a string for image-uuid.",
    ),
    (
        "Could not parse manifest: UUID must be unique within an SP manifest",
        "A partition names one UUID twice.",
    ),
    (
        "Could not parse manifest: SMMU ID must be specified for the given Stream IDs",
        "A region or device has stream-ids and no smmu-id.",
    ),
    (
        "Could not parse manifest: DMA device access permissions must match memory region",
        "stream-ids-access-permissions give a device more than the region's attributes.",
    ),
    (
        "Could not parse manifest: DMA device stream ID count exceeds predefined limit",
        "A device has more stream ids than this build holds.",
    ),
    (
        "Could not parse manifest: DMA access permissions count exceeds predefined limit",
        "stream-ids-access-permissions has more entries than this build holds.",
    ),
    (
        "Could not parse manifest: Number of device regions with DMA peripheral exceeds",
        "More device regions with an smmu-id than this build holds.",
    ),
    (
        "Could not parse manifest: VM availability messages invalid",
        "vm-availability-messages has bits other than 0 (created) and 1 (destroyed).",
    ),
    (
        "Could not parse manifest: Lifecycle support cannot be enabled for MP SP",
        "lifecycle-support needs execution-ctx-count = 1.",
    ),
    (
        "Could not parse manifest: Abort action not supported if SP lifecycle is not",
        "abort-action needs lifecycle-support in the manifest.",
    ),
    (
        "Could not parse manifest: At least one service must be defined in the manifest",
        "The property uuid is missing or empty.",
    ),
    (
        "Could not parse manifest: Live activation support cannot be enabled",
        "live-activation-support lacks what it needs; the line before says what.",
    ),
    (
        "Could not parse manifest: Image UUID conflicts with a Protocol UUID",
        "image-uuid is one of the services' UUIDs.",
    ),
    (
        "Could not parse manifest: Manifest specifies more than one image UUID",
        "image-uuid holds one UUID.",
    ),
    (
        "Could not parse manifest: Duplicate image UUID across secure partition manifests",
        "Two partitions have one image-uuid.",
    ),
    (
        "Could not parse manifest: {}",
        "Hafnium stops: the manifest is refused for the reason named.",
    ),
    # values, told where they are read
    ("Boot order should not exceed {limit}", "boot-order is larger than {limit}."),
    ("Boot order must be a unique value", "Two partitions have one boot-order."),
    ("{name} SMC whitelist too long", "smc_whitelist of {name} is cut: this build holds fewer."),
    (
        "base_address ({address}) is not aligned to page size",
        "{address} is not on a page of 4 KiB.",
    ),
    (
        "Translation granule {}: {found}",
        "xlat-granule = {found}: Hafnium knows 0 (4 KiB) alone.",
    ),
    ("Execution state {}: {found}", "execution-state = {found}: Hafnium runs AArch64 (0) alone."),
    (
        "Exception level and execution context count {}: {level} {count}",
        "An S-EL0 partition has one execution context: execution-ctx-count = {count} is too many.",
    ),
    (
        "Exception level {}: {found}",
        "exception-level = {found}: no level at which this Hafnium runs partitions.",
    ),
    (
        "RWX attributes not supported for EL0 partition memory region",
        "A region of an S-EL0 partition is written or executed, not both.",
    ),
    (
        "Interrupt count for device region exceeds limit",
        "A device region names more interrupts than this build holds.",
    ),
    (
        "Interrupt count for VM exceeds limit",
        "The device regions of a partition name more interrupts than this build holds.",
    ),
    (
        "Live activation register number {}: {found}",
        "live-activation-register = {found}: x0 to x7, without x4 and gp-register-num.",
    ),
    ("GP register number {}: {found}", "gp-register-num = {found}: x0 to x3 can be asked for."),
    (
        "Stream ID {stream} not found in any device region node of partition manifest",
        "A memory region lets stream {stream} in, which no device region of this partition has.",
    ),
    (
        "Partition's `load_address` ({own}) in its manifest differs from `load-address` ({other})",
        "The partition was loaded at {other}, and its manifest says {own}: {other} is used.",
    ),
    (
        "'ns-interrupts-action' and 'other-s-interrupts-action' not compatible",
        "Who queues other secure interrupts cannot let non-secure ones through.",
    ),
    (
        "Illegal value specified for the field 'other-s-interrupts-action': {found}",
        "other-s-interrupts-action = {found}: 0 (queued) or 1 (signalled).",
    ),
    (
        "Abort action not supported for this partition",
        "abort-action is not possible for this kind of partition.",
    ),
    ("Abort action not supported by Hafnium", "abort-action has an undefined value."),
    (
        "Live activation needs partition lifecycle support to be enabled",
        "live-activation-support without lifecycle-support.",
    ),
    (
        "Live activation needs status register to be specified",
        "live-activation-support without live-activation-register.",
    ),
    (
        "Live activation support needs Image UUID to be specified",
        "live-activation-support without image-uuid.",
    ),
    ("Malformed Image UUID specified", "image-uuid is a string of 36 characters."),
    (
        "Live state buffer not found in partition manifest",
        "live-state-buffer-info names no buffer.",
    ),
    (
        "Live activation needs live state buffer to be specified in memory region node",
        "live-activation-support without a node live-state-buffer-info.",
    ),
    (
        "Partition pkg size {size} bigger than expected: {limit}",
        "The package has {size} bytes, more than the {limit} reserved for it in the manifest.",
    ),
    ("FDT failed validation", "The partition manifest in the package is no valid device tree."),
    ("Error parsing partition manifest", "The line before says which property."),
    (
        "Partition Package {name} doesn't have boot info space",
        "The package has no page before the manifest: no boot information is handed over.",
    ),
    (
        "Partition Package {name} missing boot-info space",
        "The package has no page before the manifest: no boot information is handed over.",
    ),
    (
        "ailed to process boot information",
        "What boot-info of the manifest asks for does not fit, or is not there.",
    ),
    (
        "Boot info memory is full",
        "boot-info asks for more than the page before the manifest holds.",
    ),
    (
        "The node 'boot-info' is not compatible",
        'boot-info needs compatible = "arm,ffa-manifest-boot-info".',
    ),
    # packages
    ("Invalid package manifest offset", "The manifest's offset lies outside of the package."),
    ("Image offset in SP pkg is not page aligned", "The image starts on a page of 4 KiB."),
    ("Partition manifest bigger than its region", "The manifest runs into the image."),
    ("SP pkg offsets are not page aligned", "Manifest and image start on pages of 4 KiB."),
    (
        "SP pkg offsets must be in order: boot info < partition manifest < image offset",
        "The package's header has its offsets in another order.",
    ),
    (
        "Unrecognized Secure Partition Pkg format",
        'The package does not start with "SPKG", or has another version than 1 and 2.',
    ),
    (
        "unsupported transfer list type found",
        "The package holds a transfer list entry that Hafnium does not know.",
    ),
    (
        "invalid number of partition image entries in TL: {count}",
        "A transfer list has one image of a partition, here {count}.",
    ),
    (
        "partition image must be the last TL entry; last TL tag id: {tag}",
        "The image is followed by another entry ({tag}).",
    ),
    (
        "the partition manifest range must be 4k page aligned",
        "The manifest's entry in the transfer list is not on pages.",
    ),
    (
        "the partition image range must be 4k page aligned",
        "The image's entry in the transfer list is not on pages.",
    ),
    (
        "the hob range must be 4k page aligned",
        "The HOB list's entry in the transfer list is not on pages.",
    ),
    (
        "invalid secure partition package {magic} @ {address}",
        "What lies at {address} is neither a package nor a transfer list.",
    ),
    # device trees
    ("FDT failed header validation", "What the boot loader handed over is no device tree."),
    ("Found more than {limit} CPUs", "The device tree has more CPUs than this build's MAX_CPUS."),
    ("Could not parse CPU id", "reg of a node in /cpus is malformed."),
    ("Unable to find '/cpus'", "The device tree has no /cpus."),
    (
        "Found {kind} range {index} in FDT but only {count} supported",
        "Only the first {count} ranges of {kind} are used.",
    ),
    ("Unable to find FDT '/chosen' node", "The primary VM's device tree has no /chosen."),
    ("FDT cannot find root offset", "The secondary VM's device tree has no root."),
    ("FDT failed to open_into", "There is no room to add to a VM's device tree."),
    ("FDT cannot add memory node", "A VM's device tree has a memory node already, or is full."),
    ("Unable to add memory reservations to FDT", "The primary VM's device tree is full."),
    ("FDT failed validation. Error: {code}", "A VM's device tree is refused by libfdt ({code})."),
    ("Boot CPU's ID not found in config", "The PE that boots is not in the manifest's list."),
    ("only old binary format is supported", "The initrd is a cpio archive in another format."),
    ('Unable to find primary initrd "{name}"', "ramdisk_filename of vm1 is not in the initrd."),
    ("Could not find manifest in initrd", "The hypervisor's initrd holds no manifest.dtb."),
    ("Manifest not aligned", "manifest.dtb lies in the initrd at an odd address."),
    ("Could not parse boot params", "The device tree from the boot loader lacks what is needed."),
    # loading
    ('Could not find kernel file "{name}"', "kernel_filename is not in the initrd."),
    ("Kernel is larger than available memory", "mem_size of the VM is smaller than its kernel."),
    ("Unable to copy kernel", "The kernel could not be copied to the VM's memory."),
    ("Unable to Link RX/TX buffer with mailbox", "rx_tx-info names regions that are not possible."),
    (
        "Unable to attach upstream peripheral device",
        "The SMMU does not know a stream id of a device region.",
    ),
    ("Unable to load primary kernel", "The primary VM is not started; the line before says why."),
    ("Unable to load primary VM", "The primary VM is not started; the line before says why."),
    ("Cannot open the secondary VM's FDT", "fdt_filename of the VM is not in the initrd."),
    (
        "FDT allocated space ({size}) is more than the specified maximum to use ({limit})",
        "The VM's device tree needs {size} bytes; fdt_max_size allows {limit}.",
    ),
    (
        "region security {} ignored for",
        "A VM's memory is non-secure; its manifest calls the region secure.",
    ),
    ("Unable to map secondary VM memory-region", "A memory region could not be mapped."),
    ("Unable to map memory-region in the page tables of DMA", "A stream's stage 2 is full."),
    ("Unable to map secondary VM device-region", "A device region could not be mapped."),
    ("Unable to unmap secondary VM {what}-region from primary VM", "Memory for tables ran out."),
    ("Unable to load kernel", "The partition's image is missing or does not fit."),
    ("Unable to load FDT", "The VM's device tree is missing or does not fit."),
    ("Unable to patch FDT", "The VM's device tree cannot be changed; the line before says why."),
    (
        "Too many reserved ranges after loading secondary VMs",
        "The device tree has no room to keep the primary VM off the secondary VMs' memory.",
    ),
    ("Not enough memory ({size} bytes)", "No free range of {size} bytes is left for this VM."),
    ("Unable to load VMs", "The system stops: no partition runs; the lines before say why."),
    (
        "Loading VM id {endpoint}: {name} - mem_size: {size}",
        "{endpoint} is {name}, with {size} bytes.",
    ),
    ("Unable to load VM", "The partition named before is left out; the line before says why."),
    ("Unable to unmap secondary VM from primary VM", "Memory for tables ran out."),
    (
        "Failed to allocate entries for DMA page tables. Consider increasing heap page count",
        "heap_pages of this build is too small for the streams of the manifests.",
    ),
    ("Illegal DMA device specified", "The DMA device id of a region is not one of this partition."),
    (
        "Cannot allocate a new entry in stage 2 translation table",
        "Hafnium's heap (heap_pages) is used up.",
        "abi.no_memory_for_tables",
    ),
    (
        "Failed to allocate memory for page table",
        "Hafnium's heap (heap_pages) is used up.",
        "abi.no_memory_for_tables",
    ),
    (
        "Unable to allocate memory for page table",
        "Hafnium's heap (heap_pages) is used up.",
        "abi.no_memory_for_tables",
    ),
    ("Device memory not provided, defaulting to 1 TB", "The manifest has no device memory ranges."),
    ("Unable to copy FDT", "The VM's device tree does not fit its memory."),
    ("Unable to initialise memory for primary VM", "The manifest's memory cannot be mapped."),
    ("Unable to re-initialise vm", "A restarted partition has no memory for its tables."),
    (
        "Unexpected smmu-id:{id} specified in manifest",
        "There is no SMMU with this id: the region is not mapped for the device.",
    ),
    ("SMMUv3: Illegal streamID specified: {stream}", "The SMMU has fewer streams."),
    (
        "SMMUv3: Count of valid stream IDs cannot be 0",
        "A device region has an smmu-id and no stream.",
    ),
    ("SMMUv3: Count of stream IDs exceeds the limit of {limit}", "{limit} streams a device."),
    ("SMMUv3: Could not configure streamID: {stream}", "The stream stays closed."),
    ("Bad transfer list signature {found}", "The package is no transfer list after all."),
    ("Bad transfer list max size {found}", "The package's transfer list contradicts itself."),
    ("Bad transfer list size {found}", "The package's transfer list contradicts itself."),
    ("Bad transfer list header size {found}", "The package's transfer list contradicts itself."),
    ("Bad transfer list checksum {found}", "The package was changed after it was made."),
    ("Transfer list version is invalid", "The package's transfer list has another version."),
    ("Unable to find '/chosen'", "The boot loader's device tree has no /chosen: no initrd."),
)
