"""The FF-A manifest binding as data: every property of every node, declared once.

Source: "FF-A manifests binding to device tree" (TF-A documentation, components), and the
properties that Hafnium and OP-TEE add to it.
"""

from __future__ import annotations

from ffabric.abi.words import PAGE
from ffabric.system.manifest.manifest import (
    AbortAction,
    ExceptionLevel,
    ExecutionState,
    Granule,
    Messaging,
    NsInterruptsAction,
    OtherSInterruptsAction,
    PowerMessages,
    RegionAttributes,
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
    "compatible", TEXTS, required=True, doc="The binding of this node and its version."
)

_V1_3 = "FF-A v1.3"


PROPERTIES: tuple[Key, ...] = (
    Key(
        "ffa-version", VERSION, "The FF-A version the partition expects: major 31:16, minor 15:0.",
        required=True,
    ),
    Key(
        "execution-ctx-count", U16, "Execution contexts: 1, or one for every PE.",
        required=True,
    ),
    Key(
        "exception-level", U32, "Where the partition runs.",
        required=True, values=ExceptionLevel,
    ),
    Key(
        "execution-state", U32, "The register width the partition runs with.",
        required=True, values=ExecutionState,
    ),
    Key("id", U16, "The pre-allocated partition id.", default="the next free one"),
    Key("auxiliary-id", U16, "A pre-allocated id for memory management transactions."),
    Key("description", TEXT, "A name for people."),
    Key("debug_name", TEXT, "A name for people.", section="Hafnium"),
    Key(
        "load-address", U64, "Where the partition's package is loaded: a physical address.",
        default="wherever there is room", align=PAGE,
    ),
    Key(
        "mem-size", U64, "Memory from the load address on, in bytes.", least=PAGE,
        default="what the SPMC manifest or the image says", align=PAGE, section="OP-TEE",
    ),
    Key(
        "entrypoint-offset", U64, "From the load address to the first instruction.",
        default="0",
    ),
    Key("xlat-granule", U32, "The translation granule.", default="0", values=Granule),
    Key(
        "boot-order", U16, "Partitions boot in ascending order of this unique number.",
        default="0xffff",
    ),
    Key(
        "gp-register-num", U32,
        "The general-purpose register that gets the address of the boot information.",
        default="no boot information", most=3,
    ),
    Key(
        "managed-exit", FLAG, "The same as ns-interrupts-action = <1>.",
        section="FF-A v1.0, table 10",
    ),
    Key("managed-exit-virq", FLAG, "Signal the managed exit by a vIRQ instead of a vFIQ."),
    Key(
        "ns-interrupts-action", U32, "What a pending non-secure interrupt does to the partition.",
        default="2", values=NsInterruptsAction,
    ),
    Key(
        "other-s-interrupts-action", U32,
        "What a pending interrupt of another partition does to this one.",
        default="1", values=OtherSInterruptsAction,
    ),
    Key(
        "sri-interrupts-policy", U32,
        "When a secure interrupt pends an SRI instead of running the waiting partition.",
        default="0", bits=SriPolicy, section="TF-A binding",
    ),
    Key("notification-support", FLAG, "The partition receives notifications."),
    Key(
        "vm-availability-messages", U32, "VM availability messages it subscribes to.",
        default="0", bits=VmMessages,
    ),
    Key(
        "power-management-messages", U32, "Power management messages it subscribes to.",
        default="0", bits=PowerMessages,
    ),
    Key("has-primary-scheduler", FLAG, "The partition implements the primary scheduler."),
    Key("time-slice-mem", FLAG, "Do not time-slice long memory management operations."),
    Key("run-time-model", U32, "Run-time model of FF-A v1.0: 1 if it may be pre-empted."),
    Key("stream-endpoint-ids", NUMBERS, "Stream endpoint ids this partition stands for."),
    Key(
        "lifecycle-support", FLAG, "The partition supports every lifecycle state.", section=_V1_3
    ),
    Key(
        "abort-action", U32, "What happens when the partition aborts.",
        default="the partition manager's choice", values=AbortAction, section=_V1_3,
    ),
    Key("live-activation-support", FLAG, "The image can be replaced live.", section=_V1_3),
    Key(
        "live-activation-register", U32, "The register that says so to the new image.",
        most=7, section=_V1_3,
    ),
)  # fmt: skip

SERVICES_1_0: tuple[Key, ...] = (
    Key(
        "uuid", UUIDS, field="uuids", required=True,
        doc="The protocol UUIDs: four cells each, packed as in SMCCC 5.3.",
    ),
    Key(
        "messaging-method", NUMBERS, required=True,
        doc="Bit 0/1: receives/sends direct requests; bit 2: indirect messages; bit 9/10: "
        "receives/sends FFA_MSG_SEND_DIRECT_REQ2. One value, or one for each UUID.",
    ),
    Key("image-uuid", UUIDS, section=_V1_3, doc="The UUID of the image."),
)  # fmt: skip
"""At the root of a manifest of binding version 1.0."""

SERVICE: tuple[Key, ...] = (
    Key(
        "uuid", UUID_TEXT, required=True,
        doc="A protocol UUID in canonical form.",
    ),
    Key(
        "messaging-method", U32, required=True, bits=Messaging,
        doc="How the service is reached; bits as in binding version 1.0.",
    ),
)  # fmt: skip
"""Each child of /services, binding version 1.1."""

IMAGE_UUID_1_1 = Key("image-uuid", UUID_TEXT, section=_V1_3, doc="The UUID of the image.")

_REGION: tuple[Key, ...] = (
    Key("description", TEXT, "A name for people."),
    Key(
        "pages-count", U32, field="pages", required=True,
        doc="The region's size in translation granules.",
    ),
    Key(
        "attributes", U32, "How the region is mapped.", required=True, bits=RegionAttributes,
    ),
    Key("smmu-id", U32, "The SMMU in front of the device."),
    Key("stream-ids", NUMBERS, "Stream ids of a device that reaches the memory."),
)  # fmt: skip

MEMORY_REGION: tuple[Key, ...] = (
    *_REGION,
    Key(
        "base-address", U64, align=PAGE,
        default="the partition manager's choice", doc="Where the region is.",
    ),
    Key(
        "load-address-relative-offset", U64, field="relative_offset", align=PAGE,
        doc="Where the region is, counted from the load address.",
    ),
    Key(
        "stream-ids-access-permissions", NUMBERS,
        doc="The access permissions of each stream id, bits as in attributes.",
    ),
    Key("phandle", U32, "What references to this node hold."),
)  # fmt: skip
"""Each child of /memory-regions."""

DEVICE_REGION: tuple[Key, ...] = (
    *_REGION,
    Key(
        "base-address", U64, required=True, align=PAGE,
        doc="The physical address of the registers.",
    ),
    Key(
        "interrupts", NUMBERS,
        doc="Pairs of an interrupt id and attributes: priority 7:0, secure 8, level-triggered 9, "
        "type 11:10.",
    ),
    Key(
        "interrupts-target", NUMBERS, section="TF-A binding",
        doc="Triples of an interrupt id and an MPIDR's upper and lower half.",
    ),
    Key("exclusive-access", FLAG, "No other partition has it."),
)  # fmt: skip
"""Each child of /device-regions."""

RX_TX_INFO: tuple[Key, ...] = (
    Key("rx-buffer", U32, required=True, doc="The memory region that is the RX buffer."),
    Key("tx-buffer", U32, required=True, doc="The memory region that is the TX buffer."),
)
"""The node /rx_tx-info."""

BOOT_INFO_KEYS: tuple[Key, ...] = (
    Key("ffa_manifest", FLAG, "Pass the manifest."),
    Key("hob_list", FLAG, "Pass the hand-off blocks."),
)
"""The node /boot-info."""

LIVE_STATE_KEYS: tuple[Key, ...] = (
    Key(
        "live-state-buffer", U32, required=True, section=_V1_3,
        doc="The memory region that keeps the state.",
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
