"""Properties of manifests that ask for nothing, or for what another one overrules: warned of."""

import pytest

from ffabric.system.files.dtb import Node, cells, texts
from ffabric.system.manifest.binding import find_manifest
from ffabric.system.options.problems import Problems

WORDS = (0x5A7C6D2E, 0x5F4B4A8E, 0x9A553F9C, 0x1F0A7B11)
FLAG = b""
ROOT = {
    "compatible": texts("arm,ffa-manifest-1.0"),
    "ffa-version": cells(0x10002),
    "uuid": cells(*WORDS),
    "execution-ctx-count": cells(1),
    "exception-level": cells(2),
    "execution-state": cells(0),
    "messaging-method": cells(3),
}


def said(given, *children):
    """What is said of a manifest with these properties and nodes."""
    problems = Problems()
    find_manifest(Node(props=ROOT | given, children=[*children]), problems)
    return [str(each) for each in problems.found]


def device(**props):
    own = {name.replace("_", "-"): value for name, value in props.items()}
    placed = {"base-address": cells(0, 0x1C090000), "pages-count": cells(1), "attributes": cells(3)}
    regions = {"compatible": texts("arm,ffa-manifest-device-regions")}
    return Node("device-regions", regions, [Node("uart", placed | own)])


ACTION, VIRQ, MODEL = "ns-interrupts-action", "managed-exit-virq", "run-time-model"


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        (
            {"managed-exit": FLAG, ACTION: cells(0)},
            f"{ACTION}: ignored: managed-exit is there, too",
        ),
        ({"managed-exit": FLAG, ACTION: cells(1)}, None),
        ({"managed-exit": FLAG}, None),
        ({MODEL: cells(0), ACTION: cells(2)}, f"{MODEL}: ignored: {ACTION} is 2 (SIGNALED)"),
        ({MODEL: cells(1), ACTION: cells(2)}, None),
        (
            {MODEL: cells(1), "managed-exit": FLAG},
            f"{MODEL}: ignored: {ACTION} is 1 (MANAGED_EXIT)",
        ),
        ({VIRQ: FLAG}, f"{VIRQ}: has no effect without a managed exit"),
        ({VIRQ: FLAG, "managed-exit": FLAG}, None),
        ({VIRQ: FLAG, ACTION: cells(1)}, None),
        (
            {"live-activation-register": cells(1)},
            "live-activation-register: has no effect without live-activation-support",
        ),
    ],
)
def test_what_another_property_overrules_or_lacks_is_told(given, warned):
    assert said(given) == ([] if warned is None else [f"warning: /: {warned}"])


@pytest.mark.parametrize("register", [True, False])
def test_boot_information_needs_a_register(register):
    node = Node(
        "boot-info", {"compatible": texts("arm,ffa-manifest-boot-info"), "ffa_manifest": FLAG}
    )
    found = said({"gp-register-num": cells(0)} if register else {}, node)
    warned = ["warning: /boot-info: has no effect without gp-register-num"]
    assert found == ([] if register else warned)


@pytest.mark.parametrize(
    ("interrupts", "targets", "warned"),
    [
        ((34, 0xBFF), (34, 0, 0), None),
        ((34, 0x1900), (), "interrupts: 34: bits 0x1000 of its attributes are reserved"),
        ((34, 0xC00), (), "interrupts: 34: there is no type 3 (bits 11:10)"),
        ((20, 0x900), (), None),
        ((20, 0x900), (20, 0, 0), "interrupts-target: 20 has no effect: it is the PPI of each PE"),
        (
            (1056, 0),
            (1056, 0, 0),
            "interrupts-target: 1056 has no effect: it is the PPI of each PE",
        ),
        ((4096, 0), (4096, 0, 0), None),
    ],
)
def test_attributes_of_interrupts_that_mean_nothing_are_told(interrupts, targets, warned):
    given = {"interrupts": cells(*interrupts)}
    if targets:
        given["interrupts_target"] = cells(*targets)
    where = "warning: /device-regions/uart: "
    assert said({}, device(**given)) == ([] if warned is None else [where + warned])


@pytest.mark.parametrize(
    ("permissions", "warned"),
    [(0xF, []), (0x13, ["0x13: bits 0x10 are reserved"]), (0xF0, ["0xf0: bits 0xf0 are reserved"])],
)
def test_permissions_of_streams_that_mean_nothing_are_told(permissions, warned):
    stream = {"smmu-id": cells(0), "stream-ids": cells(1)}
    memory = Node(
        "memory-regions",
        {"compatible": texts("arm,ffa-manifest-memory-regions")},
        [
            Node(
                "scratch",
                {
                    "pages-count": cells(1),
                    "attributes": cells(3),
                    "stream-ids-access-permissions": cells(permissions),
                    **stream,
                },
            )
        ],
    )
    found = said({}, device(smmu_id=cells(0), stream_ids=cells(1)), memory)
    where = "warning: /memory-regions/scratch: stream-ids-access-permissions: "
    assert found == [where + each for each in warned]


def test_properties_that_a_binding_has_moved_are_told_where_they_are_now():
    found = said({"compatible": texts("arm,ffa-manifest-1.1")})
    now = "ignored: in arm,ffa-manifest-1.1 it stands in a child of /services, one for each service"
    assert f"warning: /: uuid: {now}" in found
    assert f"warning: /: messaging-method: {now}" in found


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"ffa-version": texts("1.2")},
            "ffa-version: a text where a number is expected: <0x00010002>",
        ),
        (
            {"uuid": texts("5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11")},
            "uuid: 37 bytes ('5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11', a text) are not 32-bit cells",
        ),
        ({"id": texts("one")}, "id: 0x6f6e6500 is more than 0xffff"),
        ({"id": texts("first")}, "id: 6 bytes ('first', a text) where 4 are expected"),
        ({"id": texts("x" * 63)}, "id: 64 bytes where 4 are expected"),
        ({"id": texts("x" * 62)}, f"id: 63 bytes ({'x' * 62!r}, a text) where 4 are expected"),
        ({"id": b"\1\2\0"}, "id: 3 bytes where 4 are expected"),
        ({"id": b""}, "id: 0 bytes where 4 are expected"),
        (
            {"description": cells(1, 2)},
            "description: a string must end in a nul byte; these are 2 cells",
        ),
        ({"description": b"abc"}, "description: a string must end in a nul byte"),
    ],
)
def test_text_in_the_place_of_numbers_is_told(given, told):
    assert f"/: {told}" in said(given)
