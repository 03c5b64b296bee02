"""The ``ffabric`` command: one module per command, imported when it is used.

Exit status: 0 fine; 1 the command found something wrong (a test failed, an input was not
understood); 2 the command could not do its work (bad arguments, files or configuration, a package
missing); 3 to 6 how a run ended (`ffabric.lab.running.STATUS`); 130 interrupted, 143 terminated,
129 hung up by a signal; 141 nobody reads its output any more. Errors are one line each on standard
error, never a traceback.
"""

from __future__ import annotations

import io
import os
import sys

from ffabric import __version__
from ffabric._face import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence
    from typing import NoReturn

    from cyclopts import App

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("ffabric.cli.running.demo:demo", "Show four whole systems at work."),
    "new": ("ffabric.cli.new:new", "Make a project of a partition, with a test and a file for CI."),
    "run": ("ffabric.cli.running.run:run", "Boot a system described in a TOML file."),
    "calls": ("ffabric.cli.running.calls:calls", "Execute raw calls, one JSON object a line."),
    "shell": ("ffabric.cli.reading.shell:shell", "Walk through a run or a trace, and back."),
    "trace": ("ffabric.cli.reading.trace:trace", "Read a trace that a run has written."),
    "report": ("ffabric.cli.reading.report:report", "Make a page of a trace, to look at."),
    "export": ("ffabric.cli.reading.export:export", "Write a trace for Perfetto or Wireshark."),
    "explain": ("ffabric.cli.reading.explain:explain", "Say what registers or log lines mean."),
    "manifest": ("ffabric.cli.reading.manifest:manifest", "Validate manifests, layouts, systems."),
    "acs": ("ffabric.cli.testing.acs:acs", "Run a build of Arm's FF-A compliance suite."),
    "explore": (
        "ffabric.cli.testing.explore:explore",
        "Look for a schedule that breaks a scenario.",
    ),
    "fuzz": ("ffabric.cli.testing.fuzz:fuzz", "Attack the firmware with hostile calls."),
    "faults": (
        "ffabric.cli.testing.faults:faults",
        "List historical bugs that can be switched on.",
    ),
    "linux": ("ffabric.cli.running.linux:linux", "Boot Debian's Linux as the normal world."),
    "xtest": ("ffabric.cli.running.xtest:xtest", "Run OP-TEE's tests in two Linux VMs at once."),
    "virtio": (
        "ffabric.cli.running.virtio:virtio",
        "Judge both sides of virtio-msg by every clause.",
    ),
    "study": ("ffabric.cli.testing.study:study", "Count what a choice costs."),
    "vhost": ("ffabric.cli.running.vhost:vhost", "Drive real virtio back ends, and check them."),
    "completion": ("ffabric.cli.completion:completion", "Let a shell complete command lines."),
    "bench": ("ffabric.cli.testing.bench:bench", "Measure how fast everything is."),
}
"""Name of a command -> its function, and what it does in a line."""

ABOUT = "A whole Arm FF-A system on one ordinary computer."
UNABLE = 2
INTERRUPTED = 130
UNREAD = 141


def main() -> NoReturn:
    """The entry point of the command line."""
    words = sys.argv[1:]
    try:
        _prepare_output()
        if words in ([], ["--help"], ["-h"]):
            print(_help())
            status: object = 0
        elif words == ["--version"]:
            print(__version__)
            status = _tell_inner_loop()
        else:
            status = _execute(words)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNREAD)
    except KeyboardInterrupt:  # while something was imported: a command tells it itself
        fail(["interrupted"], INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _prepare_output() -> None:
    """Let output that is closed go nowhere, and print what its encoding lacks as escapes."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _help() -> str:
    """What there is, a line for each command."""
    rows = [*((name, COMMANDS[name][1]) for name in sorted(COMMANDS)), *_FLAGS]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:{width}}  {text}" for name, text in rows]
    return "\n".join(("Usage: ffabric COMMAND", "", ABOUT, "", *lines))


def _tell_inner_loop() -> int:
    """Print which inner loop executes images: the exit status."""
    from ffabric.machine.engines import compiled  # noqa: PLC0415 - on request
    from ffabric.machine.engines.unicorn.inner_loop import choice  # noqa: PLC0415

    try:
        print(f"inner loop of images: {choice.said()}")
    except compiled.InnerLoopError as error:
        fail([str(error)])
    return 0


_FLAGS = (
    ("--help (-h)", "Display this message and exit; after a command, what it takes."),
    ("--version", "Display application version."),
)


def _execute(words: Sequence[str]) -> object:
    """Execute a command: its exit status."""
    from ffabric.cli.errors import expected, lines_of  # noqa: PLC0415 - help needs none of it
    from ffabric.machine.host.interruption import Interrupted, interruptible  # noqa: PLC0415

    try:
        with interruptible():
            return _call(words)
    except BrokenPipeError:
        raise
    except Exception as error:
        if not isinstance(error, expected()):
            raise
        fail(lines_of(error))
    except KeyboardInterrupt as error:
        interruption = Interrupted.of(error)
        fail([str(interruption)], interruption.status)


def _call(words: Sequence[str]) -> object:
    """Call the function of a command with what its parameters are given."""
    from ffabric.cli.plain import bind  # noqa: PLC0415 - help needs none of it

    where, _ = COMMANDS.get(words[0], ("", ""))
    if where:
        function = _loaded(where)
        bound = bind(function, words[1:])
        if bound is not None:
            status: object = function(*bound.args, **bound.kwargs)
            return status
    return parser({words[0]})(words, result_action="return_value")


def parser(wanted: Container[str]) -> App:
    """The full parser of all commands, which knows those ``wanted`` whole."""
    try:
        from ffabric.cli.full import application  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "cyclopts":
            raise
        fail(["cyclopts is not installed: pip install 'ffabric[cli]'"])
    return application(COMMANDS, wanted, version=__version__, text=ABOUT)


def _loaded(where: str) -> Callable[..., object]:
    """The function at "module:name".

    To look for garbage once more when the process ends would take a tenth of what a short command
    takes.
    """
    import atexit  # noqa: PLC0415 - help needs none of it
    import gc  # noqa: PLC0415

    module, _, name = where.partition(":")
    atexit.register(gc.freeze)
    found: Callable[..., object] = getattr(load(module), name)
    return found


def fail(lines: Iterable[str], status: int = UNABLE) -> NoReturn:
    """End the command with what is wrong."""
    for line in lines:
        print(f"ffabric: {line}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
