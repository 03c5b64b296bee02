"""An episode of properties: each is tried in its turn, until so many calls are made."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.properties import (
    discovery,
    fragments,
    interrupts,
    lives,
    manifests,
    memory,
    messages,
    notifications,
    queues,
    restless,
    tees,
)
from ffabric.lab.properties.restless import Restless
from ffabric.lab.properties.trial import Trial

if TYPE_CHECKING:
    from ffabric.lab.fuzz.report import Report

Property = Callable[[Trial], None]

PROPERTIES: Final[dict[str, tuple[Property, type[Trial]]]] = {
    "partitions": (discovery.partitions, Trial),
    "abilities": (discovery.abilities, Trial),
    "negotiation": (discovery.negotiation, Trial),
    "direct messages": (messages.direct, Trial),
    "who takes messages": (messages.capabilities, Trial),
    "indirect messages": (messages.indirect, Trial),
    "buffers": (messages.buffers, Trial),
    "sending memory": (memory.sending, Trial),
    "retrieving memory": (memory.retrieving, Trial),
    "clearing memory": (memory.clearing, Trial),
    "fragments": (fragments.fragments, Trial),
    "notifications of SPs": (notifications.among_sps, Trial),
    "notifications of VMs": (notifications.among_vms, Trial),
    "notifications for SPs": (notifications.of_sps, Trial),
    "interrupts": (interrupts.handled, Trial),
    "interrupts on two PEs": (interrupts.on_two_pes, Trial),
    "memory regions": (manifests.regions, Trial),
    "start of SPs": (manifests.started, Trial),
    "boot order": (manifests.in_order, Trial),
    "boot information": (manifests.told, Trial),
    "ids of VMs": (manifests.identities, Trial),
    "virtqueue at its device": (queues.at_the_device, Trial),
    "virtqueue at its driver": (queues.at_the_driver, Trial),
    "requests that change": (restless.requests, Restless),
    "transactions that change": (restless.offers, Restless),
    "messages that change": (restless.headers, Restless),
    "no memory left": (restless.exhaustion, Restless),
    "the end of a VM": (lives.borrowed, Trial),
    "VMs in OP-TEE": (tees.isolated, Trial),
}
"""What is tried, by its name in a failure, and with which judges."""


def try_properties(seed: str, calls: int, report: Report) -> None:
    """Try all properties by turns until ``calls`` are made, which ``report`` counts.

    Raises what has shown that one does not hold, its name in front of a Discrepancy's text.
    """
    number = 0
    while report.calls < calls:
        for name, (act, kind) in PROPERTIES.items():
            if report.calls >= calls:
                return
            trial = kind(Random(f"{seed}/{number}/{name}"))  # noqa: S311 - reproducible on purpose
            report.episodes += 1
            try:
                with trial:
                    act(trial)
            except Discrepancy as error:
                raise Discrepancy(f"{name}: {error}") from error
            finally:
                report.calls += trial.calls
        number += 1
