"""``ffabric demo``: a whole two-world system at work, its trace decoded."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from ffabric.cli.terminal import Terminal
from ffabric.lab.demo.partitions import DemoFailed
from ffabric.lab.demo.scene import Demo
from ffabric.lab.running import run_to_end, totals
from ffabric.observe.live import LiveTrace
from ffabric.observe.text import STYLES, Reader

_INDENT = 30
_INTRODUCTION = (
    "Two VMs under a hypervisor, four secure partitions under an SPMC, eight PEs.",
    "alice discovers the partitions, sends messages, shares, lends and donates memory whose",
    "addresses are not physical, and makes a call that is refused. bob is destroyed while the",
    "notary works on his request; what he had lent comes back.",
)


def demo(*, trace: Path = Path("demo.trace.jsonl"), seed: int = 1, quiet: bool = False) -> int:
    """Show a whole two-world system at work.

    Exit status 1 if anything came out otherwise than it must.

    Parameters
    ----------
    trace
        Where the trace goes.
    seed
        Seed of the choices: which PE goes on, when there are several.
    quiet
        Print the summary only.
    """
    started = time.perf_counter()
    terminal = Terminal(sys.stdout)
    reader = Reader()

    def show(line: dict[str, Any]) -> None:
        if not quiet:
            for style, text in reader.line(line):
                terminal.line(text, STYLES[style], indent=_INDENT)

    for line in _INTRODUCTION:
        terminal.line(line, "bold")
    terminal.line()
    with trace.open("wb") as sink:
        played = Demo(seed)
        tracer = LiveTrace(played.system, show, sink)
        played.system.attach(tracer)
        try:
            outcome = run_to_end(played.system)
            played.system.flush_consoles()
        finally:
            tracer.close()
    terminal.line()
    status = _verdict(played, terminal)
    terminal.line(f"the run ended: {outcome.reason}", "bold")
    for what, how_much in totals(played.system):
        terminal.line(f"  {what:<32} {how_much}")
    terminal.line(f"  {'trace':<32} {trace}  (ffabric trace {trace})")
    terminal.line(f"  {'wall time':<32} {time.perf_counter() - started:.2f} s")
    return status


def _verdict(played: Demo, terminal: Terminal) -> int:
    for crash in played.system.deaths:
        if crash.name != "bob":
            terminal.line(f"{crash.name} crashed: {crash.reason}", "bold red")
            return 1
    try:
        played.judge()
    except DemoFailed as failure:
        terminal.line(f"not as it must be: {failure}", "bold red")
        return 1
    terminal.line("everything came out as it must", "bold green")
    return 0
