"""The TOML file of a system as data: every table and every key, declared once."""

from __future__ import annotations

from msgspec.structs import replace

from ffabric.abi.rpmb import MOST_PARTS
from ffabric.abi.words import PAGE
from ffabric.firmware.monitor.logical import FIRST_ID as FIRST_LOGICAL_ID
from ffabric.firmware.state.interface.switches import PERSONALITIES, SPEC
from ffabric.machine.cpu_features import MODELS
from ffabric.machine.gic import EXTENDED_SPIS
from ffabric.system.manifest.keys import (
    BOOT_INFO_KEYS,
    DEVICE_REGION,
    MEMORY_REGION,
    PROPERTIES,
    SERVICES_1_0,
)
from ffabric.system.options.keys import Key, Table, schema
from ffabric.system.options.kinds import (
    DURATION,
    FLAG,
    NUMBERS,
    PATH,
    PATHS,
    SIZE,
    TEXT,
    TEXTS,
    U16,
    U32,
    U64,
    UUIDS,
    VERSION,
)
from ffabric.system.spec import ENGINES, PROTOCOLS, SP, TRUSTED_OS, VM

LAST_INTID = EXTENDED_SPIS.stop - 1

SYSTEM: tuple[Key, ...] = (
    Key("name", TEXT, "The system's name.", default="the file's"),
    Key(
        "pes", U16, "How many PEs there are.",
        default="the SPMC manifest's CPUs, or the largest number of vCPUs", least=1, most=256,
    ),
    Key(
        "mpidrs", NUMBERS, "The affinity of each PE.",
        default="the SPMC manifest's, or clusters of four: 0, 0x100, 0x200, 0x300, 0x10000 ...",
    ),
    Key(
        "board", TEXT,
        "The machine: a name (fvp-base, qemu-sbsa), or a file (board.toml) with [gic], [[memory]], "
        "[[device]], [monitor] and the PEs of a system file, which the system's own are laid over.",
        default="none",
    ),
    Key("seed", U64, "Seed of the run's choices.", default="always the first choice"),
    Key(
        "instruction_time", U16, "How many nanoseconds an instruction of an image takes.",
        default="1", least=1,
    ),
    Key(
        "cpu", TEXT, "The processor of images under Unicorn.", default="max", values=MODELS,
    ),
    Key(
        "cpu_features", TEXTS,
        "The optional features of the CPU 'max': pauth, bti, sve (vectors of 256 bits). ID "
        "registers tell of no others; without sve its instructions are undefined.",
        default="pauth and bti",
    ),
    Key(
        "ffa_version", VERSION, "The version the SPMC and the hypervisor implement.",
        default="the SPMC manifest's, or the latest",
    ),
    Key(
        "hypervisor", FLAG, "false: there is none, and the only VM is the kernel, endpoint 0.",
        field="with_hypervisor", default="true",
    ),
    Key(
        "strict", FLAG,
        "Whether calls are refused whose reserved registers should be zero (SBZ) and are not.",
        default="false",
    ),
    Key(
        "personality", TEXTS,
        "An implementation whose habits the partition managers have, or several: "
        f"{', '.join(PERSONALITIES)}.",
        default=SPEC,
    ),
    Key(
        "waive", TEXTS,
        "Ids of rules that refuse nothing: calls that break them go on, and are counted.",
        default="none",
    ),
    Key(
        "enforce", TEXTS,
        "Ids of optional rules that are judged, such as message.uuid.",
        default="none: the specification leaves them open",
    ),
    Key(
        "primary_vm", TEXT,
        "The VM that schedules all others: they run when it makes FFA_RUN (Hafnium's primary VM), "
        "and have Hafnium's calls for an interrupt controller.",
        default="none: the hypervisor shares the PEs",
    ),
    Key(
        "fip", PATH,
        "A firmware image package: its SPMC manifest, its SP packages as more secure partitions, "
        "and BL33 as the VM 'bl33' of a system without a hypervisor. Tables of the same names are "
        "laid over them.",
    ),
    Key("sp_layout", PATH, "An sp_layout.json: more secure partitions."),
    Key("include", PATHS, "Folders where manifests' #include looks.", default="none"),
)  # fmt: skip
"""The top of the file."""

SPMC: tuple[Key, ...] = (
    Key("manifest", PATH, "The SPMC's manifest, .dts or .dtb."),
    Key("id", U16, "The SPMC's endpoint id.", default="0x8000"),
    Key(
        "exception_level", TEXT,
        "Where the SPMC runs: s-el2, s-el1 (SPs at S-EL0 only) or el3 (one SP at S-EL1 at most, "
        "with an execution context for each PE).",
        field="spmc_level", default="s-el2",
    ),
    Key(
        "sri", U16, "The SGI of the Schedule Receiver Interrupt.", default="8", most=15,
    ),
    Key(
        "memory_size", SIZE, "Memory for the translation tables of each partition manager.",
        field="firmware_size", default="8 MiB", align=PAGE,
    ),
)  # fmt: skip
"""The table [spmc]."""

MONITOR: tuple[Key, ...] = (
    Key(
        "spmd_logical_partition", FLAG,
        "Whether the SPMD has its logical partition, which SPs discover and nobody calls: as in a "
        "TF-A that is built with ENABLE_SPMD_LP.", default="false",
    ),
    Key(
        "group0", NUMBERS,
        "INTIDs of Group 0, which EL3 takes itself in both worlds: it refreshes the watchdog that "
        "raises one, and panics at one whose line stays high.", default="none",
    ),
)  # fmt: skip
"""The table [monitor]; its table [monitor.calls] has function IDs as keys."""

LOGICAL_PARTITION: tuple[Key, ...] = (
    Key("name", TEXT, "The partition's name.", required=True),
    Key("uuid", UUIDS, "The UUID of its service.", required=True),
    Key("id", U16, "Its endpoint id.", default="0xffc1 and on", least=FIRST_LOGICAL_ID),
    Key(
        "python", TEXT,
        "The function that answers its requests: 'module:function' or 'file.py:function'. It maps "
        "the payload, a list of words, to that of the response.",
        default="it receives no requests",
    ),
)  # fmt: skip
"""Each table [[logical_partition]]: a service at EL3."""

MEMORY: tuple[Key, ...] = (
    Key("name", TEXT, "The bank's name.", default="memoryN"),
    Key("base", U64, "Its first physical address.", required=True, align=PAGE),
    Key("size", SIZE, "Its size in bytes.", required=True, align=PAGE),
    Key("secure", FLAG, "Whether it is the secure world's.", default="false"),
    Key("file", PATH, "A file that it begins with, as flash memory does.", default="zeros"),
    Key(
        "reserved",
        FLAG,
        "Whether nothing is placed there but what names its address.",
        default="false",
    ),
)
"""Each table [[memory]]. The SPMC manifest's memory nodes that none of them overlaps count, too,
and the banks of the board that overlap none of both. Without any there is a default."""

_PARTITION: tuple[Key, ...] = (
    Key("name", TEXT, "The partition's name.", required=True),
    Key("python", TEXT, "Python code: 'module:Class' or 'file.py:Class'."),
    Key("image", PATH, "An AArch64 image, raw or ELF."),
    Key("manifest", PATH, "The partition's manifest, .dts or .dtb."),
    Key(
        "engine", TEXT,
        "What runs it; 'qemu': a QEMU of its own, whose machine has memory from 0x40000000 on, in "
        "wall time, so that the run does not replay.",
        default="python or unicorn", values=ENGINES,
    ),
    Key("id", U16, "Its endpoint id.", default="the manifest's, or the next free one"),
    Key("uuid", UUIDS, "Property uuid of the manifest.", field="uuids"),
    Key(
        "vcpus", U16, "Property execution-ctx-count of the manifest.", field="execution_ctx_count"
    ),
    Key("mem_size", SIZE, "Property mem-size of the manifest.", least=PAGE, align=PAGE),
    Key("load_address", U64, "Property load-address of the manifest: an IPA.", align=PAGE),
    Key(
        "physical_address", U64, "Where its memory is.",
        default="the load address for an SP, else where there is room", align=PAGE,
    ),
    Key(
        "image_offset", SIZE, "Where the image lies above the load address.",
        default="the page of the entry point, or 0x4000 for an SP and 0 for a VM", align=PAGE,
    ),
)  # fmt: skip

SP_KEYS: tuple[Key, ...] = (
    *_PARTITION,
    Key("package", PATH, "An SP package or transfer list: manifest and image in one."),
    Key(
        "secure", FLAG,
        "With engine 'qemu': whether QEMU, too, executes it in the Secure state, at S-EL1 below an "
        "S-EL2. It cannot tell, but then it can mask what stops it.",
        default="false",
    ),
    Key(
        "new_image", PATH,
        "An image that can take the place of its own while the system runs (live activation).",
    ),
)  # fmt: skip
"""Each table [[sp]]."""

VM_KEYS: tuple[Key, ...] = (
    *_PARTITION,
    Key(
        "el",
        U16,
        "The exception level: 1, or 2 for a kernel without a hypervisor, which may speak for VMs.",
        most=2,
    ),
    Key(
        "initrd",
        PATH,
        "The initial file system of an image that is a kernel. With it or bootargs, and with engine"
        " 'qemu', the image finds a devicetree, whose address is in x0.",
    ),
    Key("bootargs", TEXT, "The arguments of an image that is a kernel."),
    *(
        Key(
            f"x{n}",
            U64,
            f"What x{n} holds when its first vCPU begins, as a boot loader leaves it.",
            default="the devicetree or the boot information, or 0" if n == 0 else "0",
        )
        for n in range(4)
    ),
)
"""Each table [[vm]]."""

_TRUSTED_OS_ENGINE = Key(
    "engine", TEXT,
    "What runs it; 'qemu': a QEMU of its own, which has 16 MiB of secure memory at 0x0e000000, in "
    "which it lies, and the normal world's memory from 0x40000000 on.",
    default="python or unicorn", values=ENGINES,
)  # fmt: skip

TRUSTED_OS_KEYS: tuple[Key, ...] = (
    *(
        _TRUSTED_OS_ENGINE if key.name == "engine" else key
        for key in _PARTITION
        if key.name not in ("id", "uuid", "manifest", "physical_address")
    ),
    Key(
        "notification_interrupt", U32,
        "The SPI with which it notifies the kernel; a hypervisor passes it on to each VM that it "
        "has values for (OP-TEE's CFG_CORE_ASYNC_NOTIF_GIC_INTID).", most=LAST_INTID,
    ),
    Key(
        "protocol", TEXT,
        "What it is called with: 'optee', OP-TEE's SMC ABI, or 'ff-a': then it is the SPMC, below "
        "our SPMD and with SPs of its own, and there are neither [[sp]] nor a hypervisor.",
        default="optee", values=PROTOCOLS,
    ),
    Key(
        "fw_config", PATH,
        "With protocol 'ff-a': the SPMC's manifest, .dts or .dtb, whose address is in x0 (TF-A's "
        "TOS_FW_CONFIG).",
    ),
    Key(
        "packages", PATHS,
        "With protocol 'ff-a': SP packages of the SPMC (sptool's, or transfer lists). Each lies "
        "where 'fw_config' says: its UUID and 'load-address' in a node below one that is "
        "compatible with 'arm,sp_pkg'.", default="none",
    ),
    Key(
        "rpmb", U32,
        "How many VMs have a part of 128 KiB, with a key and a counter of its own, of a Replay "
        "Protected Memory Block that the hypervisor shares out among them.", most=MOST_PARTS,
    ),
)  # fmt: skip
"""The table [trusted_os]."""

PARTITION_KEYS = {SP: SP_KEYS, VM: VM_KEYS, TRUSTED_OS: TRUSTED_OS_KEYS}

INLINE_MANIFEST: tuple[Key, ...] = (*PROPERTIES, *SERVICES_1_0)
"""The table [sp.properties] or [vm.properties]: laid over the manifest."""

DEVICE: tuple[Key, ...] = (
    Key("type", TEXT, "What it is.", required=True),
    Key("name", TEXT, "Its name.", default="its type"),
    Key("base", U64, "Its first physical address.", required=True, align=PAGE),
    Key("size", SIZE, "How many bytes its registers take.", default="the type's", align=PAGE),
    Key("interrupt", U32, "Its interrupt.", most=LAST_INTID),
    Key(
        "world", TEXT, "Who reaches it.", default="normal", values=("normal", "secure", "both")
    ),
)  # fmt: skip
"""Each table [[device]]."""

FREQUENCY = Key("frequency", U32, "Its clock in Hz.")
REFRESH_BASE = Key(
    "refresh_base", U64, "Where its refresh frame is.", default="the page after", align=PAGE
)
RESETS = Key(
    "resets", FLAG, "Whether its second timeout resets the system; it may be wired to nothing.",
    default="true",
)  # fmt: skip

SMMU = Key(
    "smmu",
    U32,
    "The SMMU in front of it: the smmu-id of manifests.",
    default="0",
)

DEVICE_TYPES: dict[str, tuple[int, tuple[Key, ...]]] = {
    "pl011": (0x1000, ()),
    "sp805": (0x1000, (FREQUENCY,)),
    "generic_watchdog": (0x1000, (REFRESH_BASE, RESETS)),
    "generic_timer": (0x1000, ()),
    "smmuv3": (0x10000, (SMMU,)),
    "smmuv3_test_engine": (0x10000, (SMMU,)),
    "stub": (0x1000, ()),
    "crypto_engine": (0x2000, ()),
}
"""Each type of device: the size of its registers, and the keys only it has."""

VIRTIO: tuple[Key, ...] = (
    Key("type", TEXT, "What it is.", required=True),
    Key("name", TEXT, "What messages call it.", default="its type"),
    Key(
        "partition", TEXT,
        "The partition that has it: a [[sp]] or [[vm]] whose class is `ffabric.virtio.DeviceSide` "
        "or derived from it. If no table is of that name, it is an SP with nothing but devices.",
        default="devices",
    ),
    Key(
        "driver", TEXT, "The partition whose it is.", default="the first that comes",
    ),
)  # fmt: skip
"""Each table [[virtio]]. Devices of a partition are numbered from 0 on, in the file's order."""

VIRTIO_TYPES: dict[str, tuple[Key, ...]] = {
    "block": (
        Key("image", PATH, "A file with its content. What is written is gone with the run."),
        Key("size", SIZE, "How large it is.", default="the image's", align=512),
        Key("read_only", FLAG, "Whether it cannot be written.", default="false"),
        Key("write_back", FLAG, "Whether what is written reaches the file.", default="false"),
        Key("serial", TEXT, "Its serial number.", default="none"),
    ),
    "network": (
        Key(
            "network", TEXT,
            "Interfaces of one partition that name the same network are connected.",
            default="none: a cable that ends nowhere",
        ),
        Key("mac", TEXT, "Its address, as 02:00:00:00:00:01.", default="the next one"),
        Key("mtu", U16, "Largest payload of a frame in bytes.", default="1500", least=68),
    ),
    "console": (
        Key("cols", U16, "Columns.", default="80"),
        Key("rows", U16, "Rows.", default="25"),
    ),
    "rng": (Key("seed", U64, "Seed of the numbers.", default="0"),),
    "vsock": (
        Key("cid", U32, "Context id of the guest.", default="3", least=3),
        Key("echo", U32, "Port of the host (CID 2) where all is sent back.", default="none"),
    ),
    "i2c": (
        Key(
            "targets", NUMBERS, "Addresses where there is a chip with 256 registers of a byte.",
            default="none",
        ),
    ),
    "gpio": (Key("lines", TEXTS, "Names of its lines, which may be empty.", required=True),),
    "fs": (
        Key(
            "folder", PATH, "Has its files at the start. What is written is gone with the run.",
            default="no files",
        ),
        Key("tag", TEXT, "By which a guest mounts it.", default="ffabric"),
    ),
    "python": (
        Key(
            "python", TEXT,
            "A device in Python: 'module:Class' or 'file.py:Class', a `ffabric.virtio.Device`, "
            "which is made with what the table `options` has.", required=True,
        ),
    ),
}  # fmt: skip
"""Each type of virtio device: the keys only it has."""

GIC: tuple[Key, ...] = (
    Key("distributor", U64, "The distributor's address.", default="0x2f000000", align=0x1_0000),
    Key(
        "redistributors", U64, "The first redistributor's address.",
        default="0x2f100000", align=0x1_0000,
    ),
)  # fmt: skip
"""The table [gic]."""

RUN: tuple[Key, ...] = (
    Key("stop_on_crash", FLAG, "End the run when a partition crashes.", default="true"),
    Key("max_events", U64, "End the run after so many events."),
    Key("stop_on", TEXT, "End the run when a console prints this."),
    Key(
        "expect",
        TEXTS,
        "What consoles, or Python code with `print`, must print, in any order: the run has failed "
        "that ends without one of these."
        " It has passed, and ends, when all have been printed, unless `stop_on` says when it ends.",
        default="nothing",
    ),
    Key(
        "fail_on",
        TEXTS,
        "The run has failed, and ends, when a console prints one of these.",
        default="nothing",
    ),
    Key(
        "time_limit",
        DURATION,
        "End the run at this virtual time: seconds, or text such as '500 ms'.",
        default="none",
    ),
    Key(
        "wedged_after",
        U64,
        "An image is wedged that executes so many instructions without a call (engine 'unicorn'; "
        "0: none ever is). The end of a time slice and an interrupt are no calls.",
        default="10000000000",
    ),
)
"""The table [run]."""

TABLES: tuple[Table, ...] = (
    Table("", "", SYSTEM),
    Table("[spmc]", "", SPMC),
    Table("[monitor]", "", MONITOR),
    Table("[[logical_partition]]", "", LOGICAL_PARTITION),
    Table("[[memory]]", "", MEMORY),
    Table("[[sp]]", "", SP_KEYS),
    Table("[[vm]]", "", VM_KEYS),
    Table("[trusted_os]", "", TRUSTED_OS_KEYS),
    Table("[[device]]", "", DEVICE),
    *(
        Table(f"[[device]] type = {name!r}", "", keys)
        for name, (_, keys) in DEVICE_TYPES.items()
        if keys
    ),
    Table("[[virtio]]", "", VIRTIO),
    *(Table(f"[[virtio]] type = {name!r}", "", keys) for name, keys in VIRTIO_TYPES.items()),
    Table("[gic]", "", GIC),
    Table("[run]", "", RUN),
)
"""Every table of the file, for the reference documentation."""


def config_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of a system's TOML file, for editors."""
    regions = {
        "memory-regions": {"type": "object", "additionalProperties": schema(MEMORY_REGION)},
        "device-regions": {"type": "object", "additionalProperties": schema(DEVICE_REGION)},
        "boot-info": schema(BOOT_INFO_KEYS),
    }
    properties = {**schema(INLINE_MANIFEST, **regions), "required": []}
    partition: dict[str, object] = {"properties": properties, "options": {"type": "object"}}
    own_keys = tuple(key for _, keys in DEVICE_TYPES.values() for key in keys)
    virtio_keys = {key.name: key for keys in VIRTIO_TYPES.values() for key in keys}
    own_options: dict[str, object] = {"options": {"type": "object"}}
    virtio = schema(
        (*VIRTIO, *(replace(key, required=False) for key in virtio_keys.values())),
        **own_options,
        type={"enum": list(VIRTIO_TYPES)},
    )
    devices = schema((*DEVICE, *own_keys), type={"enum": list(DEVICE_TYPES)})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An ffabric system",
        **schema(
            SYSTEM,
            spmc=schema(SPMC),
            monitor=schema(MONITOR, calls={"type": "object"}),
            logical_partition=_array(schema(LOGICAL_PARTITION)),
            memory=_array(schema(MEMORY)),
            sp=_array(schema(SP_KEYS, **partition)),
            vm=_array(schema(VM_KEYS, **partition)),
            trusted_os=schema(TRUSTED_OS_KEYS, **partition),
            device=_array(devices),
            virtio=_array(virtio),
            gic=schema(GIC),
            run=schema(RUN),
        ),
    }


def _array(items: dict[str, object]) -> dict[str, object]:
    return {"type": "array", "items": items}
