"""Partition manifests: what is read, and every mistake in one line, all at once."""

import struct
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from ffabric.abi.words import MASK32
from ffabric.system.files.dtb import Node
from ffabric.system.manifest.binding import find_manifest, read_manifest
from ffabric.system.manifest.keys import TABLES
from ffabric.system.manifest.manifest import (
    AbortAction,
    ExceptionLevel,
    Granule,
    Interrupt,
    Manifest,
    NsInterruptsAction,
    Service,
)
from ffabric.system.options.keys import rows
from ffabric.system.options.problems import ManifestErrors, Problems

UUID_A = UUID("486178e0-e7f8-11e3-bc5e-0002a5d5c51b")
UUID_B = UUID("11111111-2222-4333-8444-555566667777")
WORDS_A = (0xE0786148, 0xE311F8E7, 0x02005EBC, 0x1BC5D5A5)
WORDS_B = (0x11111111, 0x33432222, 0x55554484, 0x77776666)


def cells(*words: int) -> bytes:
    return struct.pack(f">{len(words)}I", *words)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def region(
    name: str, base: int | None, pages: int = 1, attributes: int = 3, **props: bytes
) -> Node:
    given = {"base-address": cells(base >> 32, base & MASK32)} if base is not None else {}
    more = {key.replace("_", "-"): value for key, value in props.items()}
    return Node(
        name, {**given, "pages-count": cells(pages), "attributes": cells(attributes), **more}
    )


def regions(kind: str, *children: Node) -> Node:
    compatible = text(f"arm,ffa-manifest-{kind}-regions")
    return Node(f"{kind}-regions", {"compatible": compatible}, list(children))


def root(*children: Node, without: tuple[str, ...] = (), **props: bytes) -> Node:
    """A minimal good manifest of binding 1.0; `props` with dashes written as underscores."""
    base = {
        "compatible": text("arm,ffa-manifest-1.0"),
        "ffa-version": cells(0x10002),
        "uuid": cells(*WORDS_A),
        "execution-ctx-count": cells(1),
        "exception-level": cells(2),
        "execution-state": cells(0),
        "messaging-method": cells(0x607),
    }
    base |= {
        key if key == "debug_name" else key.replace("_", "-"): value for key, value in props.items()
    }
    return Node("", {k: v for k, v in base.items() if k not in without}, list(children))


def problems_of(node: Node) -> list[str]:
    problems = Problems("sp.dts")
    find_manifest(node, problems)
    return [str(problem) for problem in problems.found]


def test_a_minimal_manifest_has_the_bindings_defaults() -> None:
    assert read_manifest(root()) == Manifest(
        ffa_version=0x10002, uuids=(UUID_A,), messaging_method=0x607
    )


def test_every_root_property() -> None:
    manifest = read_manifest(
        root(
            id=cells(3),
            auxiliary_id=cells(0xAE),
            description=text("tee"),
            execution_ctx_count=cells(8),
            load_address=cells(0, 0x0700_0000),
            mem_size=cells(0x20_0000),
            entrypoint_offset=cells(0x4000),
            xlat_granule=cells(0),
            boot_order=cells(2),
            gp_register_num=cells(0),
            ns_interrupts_action=cells(1),
            managed_exit_virq=b"",
            notification_support=b"",
            sri_interrupts_policy=cells(3),
            vm_availability_messages=cells(3),
            power_management_messages=cells(1),
            time_slice_mem=b"",
            run_time_model=cells(1),
            stream_endpoint_ids=cells(0, 1, 2, 3),
        )
    )
    assert manifest.id == 3
    assert manifest.auxiliary_id == 0xAE
    assert manifest.description == "tee"
    assert manifest.execution_ctx_count == 8
    assert manifest.load_address == 0x0700_0000
    assert manifest.mem_size == 0x20_0000
    assert manifest.entrypoint_offset == 0x4000
    assert manifest.xlat_granule is Granule.KIB_4
    assert manifest.boot_order == 2
    assert manifest.gp_register_num == 0
    assert manifest.ns_interrupts_action is NsInterruptsAction.MANAGED_EXIT
    assert manifest.managed_exit
    assert manifest.managed_exit_virq
    assert manifest.notification_support
    assert manifest.sri_interrupts_policy == 3
    assert manifest.vm_availability_messages == 3
    assert manifest.power_management_messages == 1
    assert manifest.time_slice_mem
    assert manifest.stream_endpoint_ids == (0, 1, 2, 3)
    assert manifest.exception_level is ExceptionLevel.S_EL1


def test_managed_exit_of_v1_0_is_the_action_of_v1_1() -> None:
    manifest = read_manifest(root(managed_exit=b"", ns_interrupts_action=cells(2)))
    assert manifest.managed_exit


def test_debug_name_stands_in_for_a_description() -> None:
    assert read_manifest(root(debug_name=text("one"))).description == "one"
    both = root(debug_name=text("one"), description=text("two"))
    assert read_manifest(both).description == "two"


def test_uuids_with_one_method_or_one_each() -> None:
    shared = read_manifest(root(uuid=cells(*WORDS_A, *WORDS_B), messaging_method=cells(3)))
    assert shared.services == (Service(UUID_A, 3), Service(UUID_B, 3))
    each = read_manifest(root(uuid=cells(*WORDS_A, *WORDS_B), messaging_method=cells(3, 4)))
    assert each.services == (Service(UUID_A, 3), Service(UUID_B, 4))
    assert each.messaging_method == 7


def service(name: str, uuid: UUID, method: int) -> Node:
    return Node(name, {"uuid": text(str(uuid)), "messaging-method": cells(method)})


def root_1_1(*children: Node, **props: bytes) -> Node:
    return root(
        *children,
        without=("uuid", "messaging-method"),
        compatible=text("arm,ffa-manifest-1.1"),
        **props,
    )


def services(*children: Node) -> Node:
    return Node("services", {"compatible": text("arm,ffa-manifest-services")}, list(children))


def test_binding_1_1_has_a_node_for_each_service() -> None:
    manifest = read_manifest(
        root_1_1(services(service("a", UUID_A, 0x600), service("b", UUID_B, 4)))
    )
    assert manifest.services == (Service(UUID_A, 0x600), Service(UUID_B, 4))
    alike = read_manifest(root_1_1(services(service("a", UUID_A, 3), service("b", UUID_B, 3))))
    assert alike.service_methods == ()
    assert alike.messaging_method == 3


def test_regions() -> None:
    manifest = read_manifest(
        root(
            regions(
                "memory",
                region("scratch", 0x0780_0000, 16, 3, smmu_id=cells(0), stream_ids=cells(1),
                       stream_ids_access_permissions=cells(3)),
                region("above", None, 2, 1, load_address_relative_offset=cells(0x10_0000)),
                region("anywhere", None, 1, 0xB, description=text("chosen by the SPMC")),
            ),
            regions(
                "device",
                region("watchdog", 0x2A49_0000, 32, 3, interrupts=cells(56, 0x900, 57, 0xB10),
                       interrupts_target=cells(57, 1, 0x100), exclusive_access=b""),
                region("dma", 0x2BFE_0000, 2, 3, smmu_id=cells(0), stream_ids=cells(1)),
            ),
            load_address=cells(0x0700_0000),
        )
    )  # fmt: skip
    scratch, above, anywhere = manifest.memory_regions
    assert (scratch.name, scratch.base_address, scratch.pages) == ("scratch", 0x0780_0000, 16)
    assert scratch.secure
    assert (above.base_address, above.relative_offset) == (0x0710_0000, 0x10_0000)
    assert anywhere.base_address is None
    assert not anywhere.secure
    watchdog, dma = manifest.device_regions
    assert watchdog.interrupts == (Interrupt(56, 0x900), Interrupt(57, 0xB10, 1 << 32 | 0x100))
    assert watchdog.exclusive_access
    assert watchdog.secure
    assert (dma.smmu_id, dma.stream_ids) == (0, (1,))
    assert not watchdog.interrupts[0].level_triggered
    assert watchdog.interrupts[0].secure
    assert watchdog.interrupts[1].level_triggered
    assert watchdog.interrupts[1].priority == 0x10
    assert manifest.region("above") is above
    with pytest.raises(KeyError):
        manifest.region("below")


def rx_tx(rx: int, tx: int) -> Node:
    compatible = text("arm,ffa-manifest-rx_tx-buffer")
    return Node(
        "rx_tx-info",
        {"compatible": compatible, "rx-buffer": cells(rx), "tx-buffer": cells(tx)},
    )


def buffers(rx_pages: int = 1, tx_pages: int = 1) -> Node:
    return regions(
        "memory",
        region("rx", 0x0730_0000, rx_pages, 1, phandle=cells(1)),
        region("tx", 0x0731_0000, tx_pages, 3, phandle=cells(2)),
    )


def test_rx_and_tx_buffers_are_memory_regions() -> None:
    manifest = read_manifest(root(rx_tx(1, 2), buffers()))
    assert (manifest.rx_buffer, manifest.tx_buffer) == ("rx", "tx")


def test_a_buffer_that_is_missing_is_said_once() -> None:
    node = rx_tx(1, 2)
    del node.props["tx-buffer"]
    assert problems_of(root(node, buffers())) == ["sp.dts: /rx_tx-info: tx-buffer: missing"]


def test_boot_info() -> None:
    node = Node(
        "boot-info", {"compatible": text("arm,ffa-manifest-boot-info"), "ffa_manifest": b""}
    )
    assert read_manifest(root(node, gp_register_num=cells(0))).boot_info == ("ffa_manifest",)


def test_live_activation() -> None:
    manifest = read_manifest(
        root(
            Node(
                "live-state-buffer-info",
                {
                    "compatible": text("arm,ffa-manifest,live-state-buffer"),
                    "live-state-buffer": cells(1),
                },
            ),
            regions("memory", region("state", 0x0679_0000, phandle=cells(1))),
            lifecycle_support=b"",
            abort_action=cells(1),
            live_activation_support=b"",
            live_activation_register=cells(1),
            image_uuid=cells(*WORDS_B),
        )
    )
    assert manifest.live_state_buffer == "state"
    assert manifest.image_uuid == UUID_B
    assert manifest.abort_action is AbortAction.DESTROY


NIL = cells(0, 0, 0, 0)

MISTAKES = [
    (root(without=("uuid",)), "/: uuid: missing"),
    (root(compatible=text("arm,ffa-manifest-2.0")), "/: compatible: 'arm,ffa-manifest-2.0' is"),
    (root(without=("compatible",)), "/: compatible: missing"),
    (root(ffa_version=cells(0x20000)), "/: ffa-version: 2.0 is not a version of FF-A"),
    (root(ffa_version=b"\0\1"), "/: ffa-version: 2 bytes where 4 are expected"),
    (root(uuid=cells(1, 2, 3)), "/: uuid: 3 cells are not UUIDs of four cells each"),
    (root(uuid=NIL), "/: uuid: the nil UUID names no service"),
    (root(uuid=cells(*WORDS_A * 2)), f"/: uuid: {UUID_A} is given twice"),
    (root(messaging_method=cells(0)), "/: messaging-method: 0: the partition could not be reached"),
    (root(messaging_method=cells(8)), "/: messaging-method: 0x8: bits 0x8 must be zero"),
    (
        root(uuid=cells(*WORDS_A, *WORDS_B), messaging_method=cells(1, 2, 3)),
        "/: messaging-method: 3 values for 2 UUIDs",
    ),
    (
        root(ffa_version=cells(0x10001)),
        "/: messaging-method: 0x607: FFA_MSG_SEND_DIRECT_REQ2 is not in v1.1",
    ),
    (root(exception_level=cells(3)), "/: exception-level: 3 is not one of 0 (EL1), 1 (S_EL0)"),
    (root(execution_ctx_count=cells(0)), "/: execution-ctx-count: 0: a partition has at least one"),
    (root(execution_ctx_count=cells(70000)), "/: execution-ctx-count: 0x11170 is more than 0xffff"),
    (
        root(exception_level=cells(1), execution_ctx_count=cells(2)),
        "/: execution-ctx-count: 2: an S_EL0 partition has one execution context",
    ),
    (root(exception_level=cells(1), managed_exit=b""), "/: ns-interrupts-action: only a partition"),
    (root(managed_exit=cells(1)), "/: managed-exit: present means true: it takes no value"),
    (root(ns_interrupts_action=cells(4)), "/: ns-interrupts-action: 4 is not one of 0 (QUEUED)"),
    (
        root(other_s_interrupts_action=cells(0)),
        "/: other-s-interrupts-action: secure interrupts cannot be queued",
    ),
    (root(sri_interrupts_policy=cells(4)), "/: sri-interrupts-policy: 0x4: bits 0x4 must be zero"),
    (
        root(exception_level=cells(1), sri_interrupts_policy=cells(1)),
        "/: sri-interrupts-policy: an S-EL0 partition cannot have one",
    ),
    (root(load_address=cells(0x0700_0800)), "/: load-address: 0x7000800 is not a multiple of"),
    (root(gp_register_num=cells(4)), "/: gp-register-num: 0x4 is more than 0x3"),
    (root(has_primary_scheduler=b""), "/: has-primary-scheduler: the primary scheduler runs at"),
    (root(abort_action=cells(0)), "/: abort-action: needs lifecycle-support"),
    (
        root(lifecycle_support=b"", execution_ctx_count=cells(2)),
        "/: lifecycle-support: only a partition with one execution context can have it",
    ),
    (root(live_activation_support=b""), "/: live-activation-support: needs image-uuid"),
    (
        root(live_activation_support=b"", live_activation_register=cells(4)),
        "/: live-activation-register: the register is used for something else",
    ),
    (root(image_uuid=cells(*WORDS_A)), f"/: image-uuid: {UUID_A} is a service's UUID too"),
    (root(image_uuid=cells(*WORDS_A, *WORDS_B)), "/: image-uuid: more than one UUID"),
    (root(regions("memory")), "/memory-regions: no region in it"),
    (
        root(Node("memory-regions", {"compatible": text("other")}, [region("a", 0x1000)])),
        "/memory-regions: compatible: 'other' is not 'arm,ffa-manifest-memory-regions'",
    ),
    (root(regions("memory", region("a", 0x1001))), "/memory-regions/a: base-address: 0x1001 is"),
    (root(regions("memory", region("a", 0x1000, 0))), "/memory-regions/a: pages-count: 0 pages"),
    (
        root(regions("memory", region("a", 0xFFFF_FFFF_F000, 2))),
        "/memory-regions/a: pages-count: 0x2: the region ends above 48 bits",
    ),
    (
        root(regions("memory", region("a", 0x1000, 1, 2))),
        "/memory-regions/a: attributes: 0x2: no read access",
    ),
    (
        root(regions("memory", region("a", 0x1000, 1, 7)), exception_level=cells(1)),
        "/memory-regions/a: attributes: memory of an EL0 partition is not writable and executable",
    ),
    (
        root(regions("memory", region("a", 0x1000, 1, 0x10))),
        "/memory-regions/a: attributes: 0x10: bits 0x10 must be zero",
    ),
    (
        root(regions("memory", region("a", 0x1000, load_address_relative_offset=cells(0)))),
        "/memory-regions/a: load-address-relative-offset: base-address is given too",
    ),
    (
        root(regions("memory", region("a", 0x1000, 4)), load_address=cells(0x3000)),
        "/memory-regions/a: base-address: the region covers the load address 0x3000",
    ),
    (
        root(regions("memory", region("a", 0x1000, 4)), regions("device", region("b", 0x3000))),
        "/device-regions/b: base-address: 0x3000 lies in memory-regions/a, which ends at 0x5000",
    ),
    (
        root(regions("memory", region("a", 0x1000, stream_ids=cells(1)))),
        "/memory-regions/a: stream-ids: needs smmu-id",
    ),
    (
        root(regions("memory", region("a", 0x1000, stream_ids=cells(1), smmu_id=cells(0)))),
        "/memory-regions/a: stream-ids: 1 of SMMU 0 is not a stream id of any device region",
    ),
    (
        root(regions("memory", region("a", 0x1000, stream_ids_access_permissions=cells(1)))),
        "/memory-regions/a: stream-ids-access-permissions: 1 values for 0 stream ids",
    ),
    (
        root(regions("memory", region("a", 0x4000)), xlat_granule=cells(2)),
        "/memory-regions/a: base-address: 0x4000 is not a multiple of the granule 0x10000",
    ),
    (
        root(regions("device", region("a", 0x1000, 1, 7))),
        "/device-regions/a: attributes: 0x7: a device is read or read-write",
    ),
    (root(regions("device", region("a", 0x1000, 0))), "/device-regions/a: pages-count: 0 pages"),
    (root(regions("device", region("a", None))), "/device-regions/a: base-address: missing"),
    (
        root(regions("device", region("a", 0x1000, interrupts=cells(1)))),
        "/device-regions/a: interrupts: 1 cells are not (id, attributes) pairs",
    ),
    *(
        (
            root(regions("device", region("a", 0x1000, interrupts=cells(intid, 0)))),
            f"/device-regions/a: interrupts: {intid} is no device's: PPIs are 16 to 31, and 1056",
        )
        for intid in (0, 15, 1020)
    ),
    (
        root(regions("device", region("a", 0x1000, interrupts=cells(56, 0, 56, 0)))),
        "/device-regions/a: interrupts: 56 is given twice",
    ),
    (
        root(
            regions(
                "device",
                region("a", 0x1000, interrupts=cells(56, 0)),
                region("b", 0x2000, interrupts=cells(56, 0)),
            )
        ),
        "/device-regions/b: interrupts: 56 belongs to a already",
    ),
    (
        root(regions("device", region("a", 0x1000, interrupts_target=cells(56, 0, 0)))),
        "/device-regions/a: interrupts-target: 56 is not one of its interrupts",
    ),
    (
        root(regions("device", region("a", 0x1000, interrupts_target=cells(56)))),
        "/device-regions/a: interrupts-target: 1 cells are not (id, mpidr, mpidr) triples",
    ),
    (root(rx_tx(1, 3), buffers()), "/rx_tx-info: tx-buffer: does not refer to a memory region"),
    (root(rx_tx(1, 1), buffers()), "/rx_tx-info: tx-buffer: the RX buffer cannot be the TX buffer"),
    (root(rx_tx(1, 2), buffers(1, 2)), "/rx_tx-info: tx-buffer: 2 pages, but the RX buffer has 1"),
    (root_1_1(), "/services: missing: a manifest has at least one service"),
    (
        root_1_1(services(Node("a", {"uuid": text("no"), "messaging-method": cells(1)}))),
        "/services/a: uuid: 'no' is not a UUID",
    ),
    (
        root_1_1(services(Node("a", {"uuid": text(UUID_A.hex), "messaging-method": cells(1)}))),
        "is not a UUID in canonical form",
    ),
    (root(description=b"no end"), "/: description: a string must end in a nul byte"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "line"), MISTAKES, ids=[line for _, line in MISTAKES])
def test_a_mistake_is_one_line(node: Node, line: str) -> None:
    found = problems_of(node)
    assert any(line in text for text in found), found
    with pytest.raises(ManifestErrors):
        read_manifest(node)


def test_all_mistakes_come_at_once() -> None:
    bad = root(
        regions("memory", region("a", 0x1001, 0)),
        without=("uuid", "execution-state"),
        gp_register_num=cells(9),
        naged_exit=b"",
    )
    with pytest.raises(ManifestErrors) as caught:
        read_manifest(bad, "bad.dts")
    assert str(caught.value).splitlines() == [
        "bad.dts: /: gp-register-num: 0x9 is more than 0x3",
        "bad.dts: warning: /: naged-exit: unknown property, ignored (did you mean 'managed-exit'?)",
        "bad.dts: /: execution-state: missing",
        "bad.dts: /: uuid: missing",
        "bad.dts: /memory-regions/a: base-address: 0x1001 is not a multiple of 0x1000",
        "bad.dts: /memory-regions/a: pages-count: 0 pages",
    ]


@pytest.mark.parametrize("version", ["0x10000", "0x10001", "0x10002"])
@pytest.mark.parametrize(
    ("make", "line"),
    [
        (partial(root, without=("messaging-method",)), "/: messaging-method: missing"),
        (root_1_1, "/services: missing: a manifest has at least one service"),
        (
            partial(root_1_1, services(Node("a", {"uuid": text(str(UUID_A))}))),
            "/services/a: messaging-method: missing",
        ),
        (partial(root, messaging_method=cells(0)), "/: messaging-method: 0: the partition could "),
    ],
)
def test_without_messages_the_cause_alone_is_told(
    make: Callable[..., Node], line: str, version: str
) -> None:
    (only,) = problems_of(make(ffa_version=cells(int(version, 0))))
    assert only.removeprefix("sp.dts: ").startswith(line)


def test_what_others_add_is_a_warning_or_nothing() -> None:
    names: dict[str, Any] = {
        "vendor,key": b"",
        "wholly_new": b"",
        "mem_sise": cells(0, 0x28_0000),
    }
    node = root(Node("test-setup"), Node("memory-region"), **names)
    assert problems_of(node) == [
        "sp.dts: warning: /: wholly-new: unknown property, ignored",
        "sp.dts: warning: /: mem-sise: unknown property, ignored (did you mean 'mem-size'?)",
        "sp.dts: warning: /test-setup: unknown node, ignored",
        "sp.dts: warning: /memory-region: unknown node, ignored (did you mean 'memory-regions'?)",
    ]
    assert read_manifest(node).uuids == (UUID_A,)


def test_every_property_is_documented() -> None:
    documented = rows(TABLES)
    assert all(row.doc and row.section for row in documented)
    assert len({(row.path, row.name) for row in documented}) == len(documented)
    actions = next(row for row in documented if row.name == "ns-interrupts-action")
    assert actions.allowed == "0: QUEUED, 1: MANAGED_EXIT, 2: SIGNALED"
