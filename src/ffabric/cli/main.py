"""The ``ffabric`` command: one module per command, imported when it is used.

Exit status: 0 fine; 1 the command found something wrong (a test failed, an input was not
understood); 2 the command could not do its work (bad arguments, files or configuration, a package
missing); 3 to 6 how a run ended (`ffabric.lab.running.STATUS`); 130 interrupted, 143 terminated,
129 hung up by a signal; 141 nobody reads its output any more. Errors are one line each on standard
error, never a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NoReturn

from ffabric import __version__
from ffabric.cli.errors import EXPECTED, lines_of
from ffabric.machine.host.interruption import Interrupted, interruptible

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("ffabric.cli.demo:demo", "Show four whole systems at work."),
    "run": ("ffabric.cli.run:run", "Boot a system described in a TOML file."),
    "calls": ("ffabric.cli.calls:calls", "Execute raw calls, one JSON object a line."),
    "trace": ("ffabric.cli.trace:trace", "Read a trace that a run has written."),
    "report": ("ffabric.cli.report:report", "Make a page of a trace, to look at."),
    "explain": ("ffabric.cli.explain:explain", "Say what registers or log lines mean."),
    "manifest": ("ffabric.cli.manifest:manifest", "Validate manifests, layouts, systems."),
    "acs": ("ffabric.cli.acs:acs", "Run a build of Arm's FF-A compliance suite."),
    "fuzz": ("ffabric.cli.fuzz:fuzz", "Attack the firmware with hostile calls."),
    "linux": ("ffabric.cli.linux:linux", "Boot Debian's Linux as the normal world."),
    "xtest": ("ffabric.cli.xtest:xtest", "Run OP-TEE's tests in two Linux VMs at once."),
    "vhost": ("ffabric.cli.vhost:vhost", "Write a file system to a real virtio back end."),
    "bench": ("ffabric.cli.bench:bench", "Measure how fast everything is."),
}
"""Name of a command -> its function, and what it does in a line."""

UNABLE = 2
UNREAD = 141


def main() -> NoReturn:
    """The entry point of the command line."""
    try:
        from cyclopts import App, CycloptsError  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        fail(["cyclopts is not installed: pip install 'ffabric[cli]'"])
    app = App(
        name="ffabric",
        help="A whole Arm FF-A system on one ordinary computer.",
        version=__version__,
        suppress_keyboard_interrupt=False,
        exit_on_error=False,
        print_error=False,
    )
    for name, (where, text) in COMMANDS.items():
        app.command(where, name=name, help=text)
    try:
        with interruptible():
            status = app(sys.argv[1:], result_action="return_value")
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNREAD)
    except (*EXPECTED, CycloptsError) as error:
        fail(lines_of(error))
    except KeyboardInterrupt as error:
        interruption = Interrupted.of(error)
        fail([str(interruption)], interruption.status)
    sys.exit(status if isinstance(status, int) else 0)


def fail(lines: Iterable[str], status: int = UNABLE) -> NoReturn:
    """End the command with what is wrong."""
    for line in lines:
        print(f"ffabric: {line}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
