"""``make mutants SAMPLE=200 SEED=1 [KEEP=40]`` and ``make mutants-kept``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ffabric.machine.host.interruption import Interrupted, interruptible
from mutants import kept, sample, table
from mutants.lists import KEPT, read_equivalent, read_kept, write_kept

ROOT = Path(__file__).parents[2]
FIRMWARE = "src/ffabric/firmware"
FOLDERS = tuple(f"{FIRMWARE}/{name}" for name in ("state", "manager", "hypervisor", "spmc"))
STORE = ROOT / ".mutants"
RENEW = "make mutants SAMPLE=200 KEEP=100"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--kept", action="store_true", help="run those that are kept, no sample")
    parser.add_argument("--sample", type=int, default=200, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1, help="decides which")
    parser.add_argument("--keep", type=int, default=0, help="how many to keep in the list")
    parser.add_argument("--processes", type=int, help="how many at a time; else one per CPU")
    options = parser.parse_args()
    if options.kept:
        return _run_kept()
    return _run_sample(options)


def _run_kept() -> int:
    mutants = read_kept()
    wrong = kept.wrong_without_a_mutant(ROOT, mutants)
    found = [wrong] if wrong else [each for each in kept.run(ROOT, FOLDERS, mutants) if each]
    for each in found:
        print(each)
    if found:
        print(f"a mutant must stay killed; if its code is gone, renew the list: {RENEW}")
        return 1
    print(f"{len(mutants)} mutants, all of them killed")
    return 0


def _run_sample(options: argparse.Namespace) -> int:
    from mutants.reach import Reach  # noqa: PLC0415 - CI does without coverage.py,
    from mutants.sites import chosen  # noqa: PLC0415 - and without cosmic-ray

    STORE.mkdir(exist_ok=True)
    mutants = chosen(ROOT, FOLDERS, options.sample, options.seed)
    print(f"{len(mutants)} mutants by seed {options.seed}", flush=True)
    tasks = [*sample.tasks(ROOT, mutants, Reach(ROOT, STORE, FOLDERS))]
    store = sample.Store(STORE / "results.jsonl")
    todo = [task for task in tasks if store.get(task) is None]
    if len(todo) < len(tasks):
        print(f"{len(tasks) - len(todo)} of them were run before", flush=True)
    for number, result in enumerate(sample.run(ROOT, todo, options.processes), 1):
        store.add(result)
        print(f"{number} of {len(todo)}: {result.verdict.value}: {result.mutant}", flush=True)
    results = [found for task in tasks if (found := store.get(task)) is not None]
    for line in table.lines(results, read_equivalent()):
        print(line)
    if options.keep:
        write_kept(kept.keep(ROOT, FOLDERS, read_kept(), results, options.keep))
        print(f"kept in {KEPT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    try:
        with interruptible():
            sys.exit(main())
    except KeyboardInterrupt as error:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(Interrupted.of(error).status)
