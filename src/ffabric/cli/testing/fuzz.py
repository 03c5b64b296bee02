"""``ffabric fuzz``: hostile partitions against the firmware, or against a user's partitions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.cli.testing.fuzz_firmware import fuzz_firmware, replay_firmware
from ffabric.cli.testing.fuzz_system import Target, fuzz_system
from ffabric.lab.cluster import scheduled
from ffabric.lab.fuzz.campaign import CALLS, HOSTS, PAIRS, PROPERTIES, SINGLES, Plan
from ffabric.lab.invariants.invariants import names_in
from ffabric.lab.processes import Players, spread

DEFAULT_CALLS = 100_000


def fuzz(
    system: Path | None = None,
    *,
    as_: Annotated[list[str] | None, Option(name="--as")] = None,
    corpus: Path | None = None,
    invariants: str = "",
    scheduler: str | None = None,
    calls: float | None = None,
    hosts: bool = False,
    properties: bool = False,
    singles: bool = False,
    pairs: bool = False,
    sample: int | None = None,
    seed: int = 1,
    processes: int | None = None,
    state: Path | None = None,
    keep_going: bool = False,
    replay: str | None = None,
    trace: Path | None = None,
    json: bool = False,
) -> int:
    """Attack the firmware with hostile VMs and SPs, or the partitions of SYSTEM with its VMs.

    Without SYSTEM: random, malformed and legal calls; with --singles or --pairs, events that burst
    into scenarios at every boundary between two exits. After each step judges compare what the
    calls so far imply with what every stage-2 table lets its partition reach; partitions that
    behave must get what they ask for all the time, and at the end nothing may be left. Exit status
    1 for the first thing that is wrong.

    With SYSTEM, a TOML file: its VMs make calls, structured and damaged, and cases that reach new
    rules, transitions or lines of the partitions' Python grow further. Exit status 1 if a partition
    crashed, is wedged, or leaves a request unanswered; the smallest calls that do it are a file.

    Parameters
    ----------
    system
        The system whose partitions are attacked; without it, the firmware is.
    as_
        With SYSTEM: who attacks, instead of all VMs. May be given several times.
    corpus
        With SYSTEM: the folder of the cases that are kept, and of those that break something; its
        cases are where a campaign begins. By default the system's file name with .fuzz.
    invariants
        With SYSTEM: judge at every call ownership, isolation, contexts, buffers, notifications,
        progress or optee, with commas between them; all stands for all but optee.
    scheduler
        The address of a scheduler of dask.distributed: its workers play, instead of processes.
    calls
        How many random calls to make (1e8 will do), in episodes of 2,500. By default 100,000.
    hosts
        Make them in systems whose hosts donate the memory of VMs that are protected from them, or
        replace the images of SPs, whose devices have DMA, through SMMUs that partitions program,
        and in which a primary VM schedules the others.
    properties
        Make them in small systems of which is known how each call has to be answered: what is right
        passes and does what it says, what has one thing wrong is refused. Manifests, virtqueues and
        a virtualized OP-TEE are tried, too.
    singles
        Let each event burst into each scenario, at each boundary.
    pairs
        Let any two events burst into each scenario, at any two boundaries.
    sample
        With --singles or --pairs: only so many of them, sampled by the seed.
    seed
        Decides what the episodes are; another seed makes others.
    processes
        How many processes play; by default one for each CPU.
    state
        A file that says how far the campaign has come. If it is there, the campaign goes on where
        it was; it is kept up to date, so that an interrupt loses nothing.
    keep_going
        Go on after a failure, and list all in the end.
    replay
        Play only the episode or the injection of this name, as a failure tells it.
    trace
        With --replay: where to write the trace.
    json
        Print one JSON object instead of text.
    """
    _judge(calls=calls, seed=seed, sample=sample, processes=processes)
    amount = int(calls or DEFAULT_CALLS)
    firmware: dict[str, object] = {
        "--hosts": hosts,
        "--properties": properties,
        "--singles": singles,
        "--pairs": pairs,
        "--sample": sample,
    }
    firmware.update({"--state": state, "--replay": replay, "--trace": trace})
    with scheduled(scheduler) if scheduler is not None else nullcontext(spread) as spreads:
        player = Players(spreads, processes)
        if system is not None:
            _refuse(firmware, "is for campaigns against the firmware")
            return fuzz_system(
                Target(system, as_ or (), corpus, _chosen(invariants)), amount, seed, player,
                keep_going=keep_going, json=json,
            )  # fmt: skip
        own = {"--as": as_, "--corpus": corpus, "--invariants": invariants}
        _refuse(own, "needs a SYSTEM whose partitions are attacked")
        if trace is not None and replay is None:
            raise UsageError("--trace needs --replay: only one episode can be traced")
        if trace is not None and (replay or "").startswith(PROPERTIES):
            raise UsageError("--trace: an episode of properties is many systems, none of them long")
        if sample is not None and not (singles or pairs):
            raise UsageError("--sample needs --singles or --pairs")
        if singles + pairs + (calls is not None or hosts or properties) > 1:
            raise UsageError("--calls, --singles and --pairs are different campaigns")
        kinds = {SINGLES: singles, PAIRS: pairs, HOSTS: hosts, PROPERTIES: properties}
        if hosts and properties:
            raise UsageError("--hosts and --properties are different campaigns")
        kind = next((each for each, wanted in kinds.items() if wanted), CALLS)
        plan = Plan(kind, seed, sample or 0 if singles or pairs else amount)
        if replay is not None:
            return replay_firmware(plan, replay, trace, json=json)
        return fuzz_firmware(plan, state, player, keep_going=keep_going, json=json)


def _chosen(invariants: str) -> tuple[str, ...]:
    """The names of invariants in an option."""
    try:
        return names_in(invariants) if invariants else ()
    except ValueError as error:
        raise UsageError(f"--invariants: {error}") from None


def _judge(**given: float | None) -> None:
    for name, value in given.items():
        least = 0 if name == "seed" else 1
        if value is not None and value < least:
            bound = "at least one" if least else "not below zero"
            raise UsageError(f"--{name} {value:g}: {bound}")


def _refuse(given: Mapping[str, object], why: str) -> None:
    for name, value in given.items():
        if value:
            raise UsageError(f"{name} {why}")
