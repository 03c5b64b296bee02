"""Booting a system from Python."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ffabric.session.system import System
from ffabric.system.booting.boot import boot as boot_spec
from ffabric.system.description.python import describe
from ffabric.system.spec import SystemSpec


def boot(
    spec: SystemSpec | None = None,
    *,
    seed: int | None = None,
    replay: Sequence[int] | None = None,
    initialising: Collection[str] = (),
    start: bool = True,
    **described: Any,
) -> System:
    """Boot ``spec``, or what ``describe(**described)`` describes, until nothing can run.

    ``initialising``: names of SPs without code of their own that are driven from the start; the
    boot goes on when they make their first FFA_MSG_WAIT. Without ``start`` nothing has run yet:
    `System.run` begins.
    """
    booted = boot_spec(
        spec if spec is not None else describe(**described), seed=seed, replay=replay
    )
    system = System(booted)
    for name in initialising:
        system.sp(name).endpoint.drive_from_start()
    try:
        if start:
            system.run()
    except BaseException:
        system.close()
        raise
    return system
