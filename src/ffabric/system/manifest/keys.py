"""The FF-A manifest binding as data: every property of every node, declared once.

Source: "FF-A manifests binding to device tree" (TF-A documentation, components), and the
properties that Hafnium and OP-TEE add to it.
"""

from __future__ import annotations

from ffabric.abi.ffa.framework import PowerMessages
from ffabric.abi.words import PAGE
from ffabric.system.manifest.manifest import (
    AbortAction,
    ExceptionLevel,
    ExecutionState,
    Granule,
    Messaging,
    NsInterruptsAction,
    OtherSInterruptsAction,
    RegionAttributes,
    RunTimeModel,
    SriPolicy,
    VmMessages,
)
from ffabric.system.options.keys import Key, Table
from ffabric.system.options.kinds import (
    FLAG,
    NUMBERS,
    TEXT,
    TEXTS,
    U16,
    U32,
    U64,
    UUID_TEXT,
    UUIDS,
    VERSION,
)

PARTITION = ("arm,ffa-manifest-1.0", "arm,ffa-manifest-1.1")
MEMORY_REGIONS = "arm,ffa-manifest-memory-regions"
DEVICE_REGIONS = "arm,ffa-manifest-device-regions"
SERVICES = "arm,ffa-manifest-services"
RX_TX = "arm,ffa-manifest-rx_tx-buffer"
BOOT_INFO = "arm,ffa-manifest-boot-info"
LIVE_STATE = "arm,ffa-manifest,live-state-buffer"

CHILDREN = {
    "services": SERVICES,
    "memory-regions": MEMORY_REGIONS,
    "device-regions": DEVICE_REGIONS,
    "rx_tx-info": RX_TX,
    "boot-info": BOOT_INFO,
    "live-state-buffer-info": LIVE_STATE,
}
"""The nodes below the root, and the compatible string each must have."""

COMPATIBLE = Key(
    "compatible",
    TEXTS,
    required=True,
    doc="The binding of this node and its version.",
    effect="Which binding the node is read with.",
)

_V1_3 = "FF-A v1.3"


PROPERTIES: tuple[Key, ...] = (
    Key(
        "ffa-version", VERSION, "The FF-A version the partition expects: major 31:16, minor 15:0.",
        required=True,
        effect="The version that it has as long as it does not call `FFA_VERSION`.",
    ),
    Key(
        "execution-ctx-count", U16, "Execution contexts: 1, or one for every PE.",
        required=True,
        effect="One context, which runs on any PE, or one for each PE.",
    ),
    Key(
        "exception-level", U32, "Where the partition runs.",
        required=True, values=ExceptionLevel,
        effect="Where its code runs, and in which world.",
    ),
    Key(
        "execution-state", U32, "The register width the partition runs with.",
        required=True, values=ExecutionState,
        effect="AArch64; an image for AArch32 is refused.",
    ),
    Key(
        "id", U16, "The pre-allocated partition id.", default="the next free one",
        effect="Its endpoint ID; bit 15 is set for an SP.",
    ),
    Key(
        "auxiliary-id", U16, "A pre-allocated id for memory management transactions.",
        effect="Memory transactions may name it by this ID, too, and discovery tells of that. One "
        "that is another's ID, or of the other world, is ignored with a warning.",
    ),
    Key(
        "description", TEXT, "A name for people.",
        effect="Its name, if nothing else gives one.",
    ),
    Key(
        "debug_name", TEXT, "A name for people.", section="Hafnium",
        effect="As `description`.",
    ),
    Key(
        "load-address", U64, "Where the partition's package is loaded: a physical address.",
        default="wherever there is room", align=PAGE,
        effect="Where its memory begins: an IPA, which for an SP is a physical address.",
    ),
    Key(
        "mem-size", U64, "Memory from the load address on, in bytes.", least=PAGE,
        default="what the SPMC manifest or the image says", align=PAGE, section="OP-TEE",
        effect="The size of its memory.",
    ),
    Key(
        "image-size", U64, "The bytes of the partition's package in memory.", align=PAGE,
        section="TF-A sptool",
        effect="The partition's own memory in the hand-off blocks, in place of `mem-size`.",
    ),
    Key(
        "entrypoint-offset", U64, "From the load address to the first instruction.",
        default="0",
        effect="Where a raw image is entered; an ELF file says that itself.",
    ),
    Key(
        "xlat-granule", U32, "The translation granule.", default="0", values=Granule,
        effect="The unit in which its regions are counted and aligned.",
    ),
    Key(
        "boot-order", U16, "Partitions boot in ascending order of this unique number.",
        default="0xffff",
        effect="The order in which partitions of a world start; those without are last. SPs start "
        "before VMs: a VM that wants to be before one is told of it.",
    ),
    Key(
        "gp-register-num", U32,
        "The general-purpose register that gets the address of the boot information.",
        default="no boot information", most=3,
        effect="The register, x0 to x3, in which an SP's first vCPU finds the address (a VM: x0). "
        "Without it there is no boot information, whatever `/boot-info` says.",
    ),
    Key(
        "managed-exit", FLAG, "The same as ns-interrupts-action = <1>.",
        section="FF-A v1.0, table 10",
        effect="As `ns-interrupts-action`.",
    ),
    Key(
        "managed-exit-virq", FLAG, "Signal the managed exit by a vIRQ instead of a vFIQ.",
        effect="The interrupt that asks for a managed exit is an IRQ.",
    ),
    Key(
        "ns-interrupts-action", U32, "What a pending non-secure interrupt does to the partition.",
        default="2", values=NsInterruptsAction,
        effect="Such an interrupt is queued, asks for a managed exit, or pre-empts.",
    ),
    Key(
        "other-s-interrupts-action", U32,
        "What a pending interrupt of another partition does to this one.",
        default="1", values=OtherSInterruptsAction,
        effect="Such an interrupt is queued, or pre-empts.",
    ),
    Key(
        "sri-interrupts-policy", U32,
        "When a secure interrupt pends an SRI instead of running the waiting partition.",
        default="0", bits=SriPolicy, section="TF-A binding",
        effect="The scheduler of the normal world is told instead.",
    ),
    Key(
        "notification-support", FLAG, "The partition receives notifications.",
        effect="Whether it may have notifications.",
    ),
    Key(
        "vm-availability-messages", U32, "VM availability messages it subscribes to.",
        default="0", bits=VmMessages,
        effect="It gets a message when a VM is created or destroyed.",
    ),
    Key(
        "power-management-messages", U32, "Power management messages it subscribes to.",
        default="0", bits=PowerMessages,
        effect="It gets a framework message before a PE goes off or is suspended, and afterwards.",
    ),
    Key(
        "has-primary-scheduler", FLAG, "The partition implements the primary scheduler.",
        effect="`FFA_RUN` of the VM gives cycles to contexts that wait.",
    ),
    Key(
        "time-slice-mem", FLAG, "Do not time-slice long memory management operations.",
        effect="It is always so: no memory management call is interrupted.",
    ),
    Key(
        "run-time-model", U32, "Run-time model of FF-A v1.0.", values=RunTimeModel,
        effect="`ns-interrupts-action`, if that is not given: 0 queues, 1 pre-empts.",
    ),
    Key(
        "stream-endpoint-ids", NUMBERS, "Stream endpoint ids this partition stands for.",
        effect="As `auxiliary-id`, for devices that depend on it: memory for one is retrieved by "
        "its proxy, this partition, whose stage 2 translates its streams.",
    ),
    Key(
        "lifecycle-support", FLAG, "The partition supports every lifecycle state.", section=_V1_3,
        effect="A partition that has aborted is STOPPED: BUSY, not ABORTED, for whoever calls it.",
    ),
    Key(
        "abort-action", U32, "What happens when the partition aborts.",
        default="the partition manager's choice", values=AbortAction, section=_V1_3,
        effect="0: it is stopped; 1: nobody knows it any more; 2: it is started again, with its "
        "memory as at boot; 3: EL3 ends the system.",
    ),
    Key(
        "live-activation-support", FLAG, "The image can be replaced live.", section=_V1_3,
        effect="EL3 keeps memory for a new image, and lets software of the normal world have it "
        "take the place of the old one.",
    ),
    Key(
        "live-activation-register", U32, "The register that says so to the new image.",
        most=7, section=_V1_3,
        effect="The register is 1 when a new image begins in the place of the old one.",
    ),
)  # fmt: skip

SERVICES_1_0: tuple[Key, ...] = (
    Key(
        "uuid", UUIDS, field="uuids", required=True,
        doc="The protocol UUIDs: four cells each, packed as in SMCCC 5.3.",
        effect="What it is discovered and addressed by.",
    ),
    Key(
        "messaging-method", NUMBERS, required=True,
        doc="Bit 0/1: receives/sends direct requests; bit 2: indirect messages; bit 9/10: "
        "receives/sends FFA_MSG_SEND_DIRECT_REQ2. One value, or one for each UUID.",
        effect="The messages that it may send and receive, and its properties.",
    ),
    Key(
        "image-uuid", UUIDS, section=_V1_3, doc="The UUID of the image.",
        effect="What all its services are discovered by.",
    ),
)  # fmt: skip
"""At the root of a manifest of binding version 1.0."""

SERVICE: tuple[Key, ...] = (
    Key(
        "uuid", UUID_TEXT, required=True,
        doc="A protocol UUID in canonical form.",
        effect="What it is discovered and addressed by.",
    ),
    Key(
        "messaging-method", U32, required=True, bits=Messaging,
        doc="How the service is reached; bits as in binding version 1.0.",
        effect="The messages that it may send and receive, and its properties.",
    ),
)  # fmt: skip
"""Each child of /services, binding version 1.1."""

IMAGE_UUID_1_1 = Key(
    "image-uuid",
    UUID_TEXT,
    section=_V1_3,
    doc="The UUID of the image.",
    effect="What all its services are discovered by.",
)

_REGION: tuple[Key, ...] = (
    Key(
        "description", TEXT, "A name for people.",
        effect="Its name, if nothing else gives one.",
    ),
    Key(
        "pages-count", U32, field="pages", required=True,
        doc="The region's size in translation granules.",
        effect="The size of the region.",
    ),
    Key(
        "attributes", U32, "How the region is mapped.", required=True, bits=RegionAttributes,
        effect="Access, and the physical address space.",
    ),
    Key(
        "smmu-id", U32, "The SMMU in front of the device.",
        effect="Which SMMU the stream ids are of.",
    ),
    Key(
        "stream-ids", NUMBERS, "Stream ids of a device that reaches the memory.",
        effect="The device's streams: confined to the partition, or to memory regions that list "
        "them.",
    ),
)  # fmt: skip

MEMORY_REGION: tuple[Key, ...] = (
    *_REGION,
    Key(
        "base-address", U64, align=PAGE,
        default="the partition manager's choice", doc="Where the region is.",
        effect="Where the region is; memory without it is put where there is room.",
    ),
    Key(
        "load-address-relative-offset", U64, field="relative_offset", align=PAGE,
        doc="Where the region is, counted from the load address.",
        effect="A part of the partition's own memory, with other attributes.",
    ),
    Key(
        "stream-ids-access-permissions", NUMBERS,
        doc="The access permissions of each stream id, bits as in attributes.",
        effect="What the stream may do with the region.",
    ),
    Key(
        "phandle", U32, "What references to this node hold.",
        effect="What `/rx_tx-info` and others refer to.",
    ),
)  # fmt: skip
"""Each child of /memory-regions."""

DEVICE_REGION: tuple[Key, ...] = (
    *_REGION,
    Key(
        "base-address", U64, required=True, align=PAGE,
        doc="The physical address of the registers.",
        effect="Where the region is; memory without it is put where there is room.",
    ),
    Key(
        "interrupts", NUMBERS,
        doc="Pairs of an interrupt id and attributes: priority 7:0, secure 8, level-triggered 9, "
        "type 11:10.",
        effect="The partition's own interrupts, with their priorities and triggers.",
    ),
    Key(
        "interrupts-target", NUMBERS, section="TF-A binding",
        doc="Triples of an interrupt id and an MPIDR's upper and lower half.",
        effect="The PE to which an SPI is routed.",
    ),
    Key(
        "exclusive-access", FLAG, "No other partition has it.",
        effect="A second partition with the device is refused.",
    ),
)  # fmt: skip
"""Each child of /device-regions."""

RX_TX_INFO: tuple[Key, ...] = (
    Key(
        "rx-buffer",
        U32,
        required=True,
        doc="The memory region that is the RX buffer.",
        effect="It is mapped when the partition starts, as by FFA_RXTX_MAP.",
    ),
    Key(
        "tx-buffer",
        U32,
        required=True,
        doc="The memory region that is the TX buffer.",
        effect="It is mapped when the partition starts, as by FFA_RXTX_MAP.",
    ),
)
"""The node /rx_tx-info."""

BOOT_INFO_KEYS: tuple[Key, ...] = (
    Key(
        "ffa_manifest",
        FLAG,
        "Pass the manifest.",
        effect="The boot information has the manifest.",
    ),
    Key(
        "hob_list",
        FLAG,
        "Pass the hand-off blocks.",
        effect="The boot information has a list of hand-off blocks.",
    ),
)
"""The node /boot-info."""

LIVE_STATE_KEYS: tuple[Key, ...] = (
    Key(
        "live-state-buffer", U32, required=True, section=_V1_3,
        doc="The memory region that keeps the state.",
        effect="A partition that stops for a new image has to say that its state is there.",
    ),
)  # fmt: skip
"""The node /live-state-buffer-info."""

TABLES: tuple[Table, ...] = (
    Table("/", "FF-A v1.2, table 5.1", PROPERTIES),
    Table("/ (binding 1.0)", "FF-A v1.2, table 5.1", SERVICES_1_0),
    Table("/ (binding 1.1)", _V1_3, (IMAGE_UUID_1_1,)),
    Table("/services/*", "FF-A v1.2, table 5.1", SERVICE),
    Table("/memory-regions/*", "FF-A v1.2, table 5.2", MEMORY_REGION),
    Table("/device-regions/*", "FF-A v1.2, table 5.3", DEVICE_REGION),
    Table("/rx_tx-info", "FF-A v1.2, table 5.1", RX_TX_INFO),
    Table("/boot-info", "Hafnium", BOOT_INFO_KEYS),
    Table("/live-state-buffer-info", _V1_3, LIVE_STATE_KEYS),
)
"""Every node of a partition manifest with its properties, for the reference documentation."""
