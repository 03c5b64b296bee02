"""``ffabric acs``: run a user's own build of Arm's FF-A compliance suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from ffabric.cli import json_file
from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.cli.terminal import Terminal, progress
from ffabric.lab.acs import matrix_report, report
from ffabric.lab.acs.build import find_build
from ffabric.lab.acs.campaign import boot_each, boot_images, one_boot, run_jobs
from ffabric.lab.acs.console import Case
from ffabric.lab.acs.matrix import Result, Why, explain, left_behind
from ffabric.lab.acs.matrix import run as run_matrix
from ffabric.lab.acs.run import Bench, Job, Settings, make_bench
from ffabric.lab.acs.witness import Limits

_FAILED = 1


def acs(
    *folders: Path,
    matrix: Annotated[bool, Option(positive=True)] = False,
    hypervisor: bool | None = None,
    boot_per_test: Annotated[bool, Option(positive=True)] = False,
    tests: Path | None = None,
    only: Annotated[list[str] | None, Option(positive=True)] = None,
    manifests: Path | None = None,
    junit: Path | None = None,
    json: json_file.JsonFile = None,
    logs: Path | None = None,
    personality: list[str] | None = None,
    seed: int | None = None,
    processes: int | None = None,
    timeout: float = Limits().seconds,
    max_exits: int = Limits().exits,
    max_seconds: float = Limits().real,
) -> int:
    """Run a build of Arm's FF-A ACS for tgt_tfa_fvp, as it is, and report what passed.

    FOLDER is where CMake has built it. After a test that hangs or crashes, the suite is booted
    again with the tests that are left. Exit status 1 if a test did not pass and was not skipped;
    of a matrix, if one failed without a reason that is known.

    Parameters
    ----------
    folders
        CMake's build folder, its "output", or one with vm1.bin, sp1.bin to sp4.bin and manifests;
        several for a matrix.
    matrix
        Run each build in one boot and with a boot for each test, as "spec" and as "hafnium" (for
        an SPMC at S-EL1 "optee-spmc", at EL3 "tf-a-el3"), and say why they differ.
    hypervisor
        What it was built for: VM1 under a hypervisor, or as the kernel at EL2; by default what
        CMake's cache says, and without a hypervisor if there is no cache.
    boot_per_test
        Boot for each test, with no other in the lists of tests that the images have in memory.
    tests
        Boot each image of VM1 in this folder instead: built for one test, and called by its name.
    only
        Run tests whose name, or whose suite's, is this; * and ? stand for anything.
    manifests
        Where sp1.dts to sp4.dts and fvp_spmc_manifest.dts are, if not in the suite's source tree.
    junit
        A file for the results as JUnit XML.
    json
        A file for the results as JSON; "-": standard output, instead of the table.
    logs
        A folder for what each boot leaves: a log with everything decoded, and the trace.
    personality
        An implementation whose habits the partition managers have, such as "hafnium".
    seed
        Seed of the runs' choices.
    processes
        How many processes boot; by default one for each CPU.
    timeout
        Seconds of virtual time that a test may take.
    max_exits
        Exits of partitions that a test may take.
    max_seconds
        Seconds of real time that a test may take.
    """
    json_file.check(json)
    if min(timeout, max_exits, max_seconds) <= 0:
        raise UsageError("a test needs some time and some exits")
    chosen = {"--boot-per-test": boot_per_test, "--tests": tests is not None, "--matrix": matrix}
    if len(forms := [name for name, given in chosen.items() if given]) > 1:
        raise UsageError(f"{' and '.join(forms)} exclude each other")
    if not folders:
        raise UsageError("which build? A folder that CMake has built in is wanted")
    if len(folders) > 1 and not matrix:
        raise UsageError("several builds are run as a matrix: --matrix")
    settings = Settings(Limits(timeout, max_exits, max_seconds), seed, logs)
    processes = processes or os.cpu_count() or 1
    if matrix:
        if junit is not None:
            raise UsageError("--junit is of one run; a matrix is written as --json")
        builds = [find_build(each, hypervisor=hypervisor, manifests=manifests) for each in folders]
        with progress(sys.stderr) as say:
            found = run_matrix(
                builds,
                settings,
                only=only or [],
                personality=personality or (),
                processes=processes,
                on_boot=lambda done, of: say(f"{done} of {of} jobs"),
            )
        return _tell_matrix(found, json)
    (folder,) = folders
    build = find_build(folder, hypervisor=hypervisor, manifests=manifests)
    bench = make_bench(build, personality or ())
    jobs = _jobs(bench, only or [], tests, each=boot_per_test)
    done = _run(bench, jobs, settings, processes)
    cases = [case for _, found in done for case in found]
    run = report.Run(
        str(folder),
        build.configuration,
        build.hypervisor,
        seed,
        len(done),
        cases,
        bench.spec.personality,
    )
    if junit is not None:
        junit.write_bytes(report.junit(run))
    if json is not None:
        json_file.write(report.data(run), json)
    if json != json_file.STDOUT:
        _print(run)
    return 0 if run.good else _FAILED


def _tell_matrix(found: list[Result], json: str | None) -> int:
    """Print the table and the reasons: the exit status."""
    whys = explain(found)
    if json is not None:
        json_file.write(matrix_report.data(found), json)
    if json != json_file.STDOUT:
        _print_matrix(found, whys)
    return 0 if all(why.by for why in whys) else _FAILED


def _print_matrix(found: list[Result], whys: list[Why]) -> None:
    say = Terminal(sys.stdout).line
    for line in matrix_report.table(found):
        say(line)
    for why in whys:
        say()
        say(f"failed: {why.text}", "yellow" if why.by else "bold red", indent=4)
        say(f"  {', '.join(why.tests)}", indent=2)
        for place in matrix_report.places(why.columns):
            say(f"  in {place}", indent=4)
        if not why.by:
            for name, reasons in matrix_report.said(found, why).items():
                say(f"  {name}: {'; '.join(reasons)}", indent=4)
    for name, lines in left_behind(found):
        say()
        say(f"{name} leaves: {'; '.join(lines)}", indent=4)
    for reason, (names, columns) in matrix_report.skips(found).items():
        say()
        say(f"skipped: {reason}", "yellow", indent=4)
        say(f"  {', '.join(names)}", indent=2)
        for place in matrix_report.places(columns):
            say(f"  in {place}", indent=4)


def _jobs(bench: Bench, only: list[str], tests: Path | None, *, each: bool) -> list[Job]:
    if tests is not None:
        return boot_images(bench, tests, only)
    return boot_each(bench, only) if each else one_boot(bench, only)


def _run(
    bench: Bench, jobs: list[Job], settings: Settings, processes: int
) -> list[tuple[Job, list[Case]]]:
    """Run the jobs and say how far they are."""
    expected = sum(len(job.tests) or 1 for job in jobs)
    seen = 0

    def begun(case: Case) -> None:
        nonlocal seen
        seen += 1
        say(f"{seen} of {expected}: {case.name}")

    done: list[tuple[Job, list[Case]]] = []
    with progress(sys.stderr) as say:
        for job, cases in run_jobs(bench, jobs, settings, processes, begun):
            done.append((job, cases))
            if len(jobs) > 1:
                say(f"{len(done)} of {len(jobs)} boots")
    return done


def _print(run: report.Run) -> None:
    terminal = Terminal(sys.stdout)
    say = terminal.line
    boots = "one boot" if run.boots == 1 else f"{run.boots} boots"
    say(f"FF-A ACS, {run.told}, {boots}", "bold")
    say()
    for line in report.table(run):
        say(line)
    for what, reasons in report.failures(run):
        say()
        say(what, "bold red")
        for reason in reasons:
            say(f"  {reason}", indent=4)
    for reason, names in report.skips(run).items():
        say()
        say(f"skipped: {reason}", "yellow", indent=4)
        say(f"  {', '.join(names)}", indent=2)
