"""No property is read and then forgotten: each has an effect, or whoever gives it is warned."""

from typing import Any

import pytest

from ffabric.system.files.dtb import Node
from ffabric.system.manifest import keys, spmc
from ffabric.system.manifest.binding import find_manifest
from ffabric.system.manifest.manifest import Manifest, NsInterruptsAction
from ffabric.system.manifest.writer import manifest_node
from ffabric.system.options.keys import Row, rows
from ffabric.system.options.problems import Problems

ROWS = rows((*keys.TABLES, *spmc.TABLES))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.path} {row.name}" for row in ROWS])
def test_a_property_has_an_effect_or_a_reason_for_none(row: Row) -> None:
    assert bool(row.effect) is not bool(row.ignored)


@pytest.mark.parametrize(
    ("given", "action"),
    [
        ({"run-time-model": 0}, NsInterruptsAction.QUEUED),
        ({"run-time-model": 1}, NsInterruptsAction.SIGNALED),
        ({"run-time-model": 0, "ns-interrupts-action": 1}, NsInterruptsAction.MANAGED_EXIT),
        ({"run-time-model": 0, "ns-interrupts-action": 2}, NsInterruptsAction.SIGNALED),
    ],
)
def test_the_run_time_model_of_v1_0_is_an_action(
    given: dict[str, Any], action: NsInterruptsAction
) -> None:
    node = Node("", manifest_node(Manifest()).props)
    node.props.pop("ns-interrupts-action", None)
    node.props |= {name: value.to_bytes(4, "big") for name, value in given.items()}
    assert find_manifest(node, Problems()).ns_interrupts_action is action
