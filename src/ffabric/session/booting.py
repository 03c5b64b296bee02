"""Booting a system from Python."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Unpack

from ffabric.session.system import System
from ffabric.system.booting.boot import boot as boot_spec
from ffabric.system.description.fields import SystemFields
from ffabric.system.description.python import described
from ffabric.system.options.keywords import ValueType, check_keywords, check_several
from ffabric.system.spec import SystemSpec

_OWN = ("spec", "seed", "replay", "initialising", "start")
_SEED = ValueType(int | None)


def boot(
    spec: SystemSpec | None = None,
    *,
    seed: int | None = None,
    replay: Sequence[int] | None = None,
    initialising: Collection[str] = (),
    start: bool = True,
    **fields: Unpack[SystemFields],
) -> System:
    """Boot a system, and run it until nothing can run any more.

    ``fields`` describe the system (see `SystemFields`); ``spec`` is one that was read from a file.
    ``seed`` varies the choices of the run; ``replay`` repeats those of another run, its
    `System.choices`. ``initialising`` names SPs without code that are driven from their start on:
    the boot goes on when they make their first FFA_MSG_WAIT. With ``start=False`` nothing runs
    before `System.run`.

    Raises SystemErrors with everything that is wrong with the description, TypeError for an unknown
    keyword, `PartitionCrashed` if a partition crashes and the system is to stop then.
    """
    check_keywords("boot()", fields, [*SystemFields.__annotations__, *_OWN])
    _SEED.check("seed", seed)
    check_several("initialising", initialising, "names of SPs")
    booted = boot_spec(described(spec, fields), seed=seed, replay=replay)
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


boot.__module__ = "ffabric"
