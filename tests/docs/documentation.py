"""Running what a page of the documentation shows.

A page is a sequence of fenced blocks, run in order in one folder and one Python namespace:

    python            executed; functions called test_... are then called with the fixture
    output            what the Python block before it has printed
    any, with a caption   written to the file that the caption names
    console           lines "$ ..." are run, what follows them is their output

Everything else is only shown.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from ffabric.cli.main import main
from ffabric.pytest_plugin.plugin import Fixture

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"(`{3,}|:{3,})\s*(\{code-block\}\s*)?([\w+-]*)\s*")
_OPTION = re.compile(r":(\w+):\s*(.*)")


@dataclass
class Block:
    """A fenced block: its language, its caption, its lines, and the line it starts at."""

    language: str
    line: int
    caption: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text."""
    found: list[Block] = []
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            block = found[-1]
            option = _OPTION.fullmatch(line) if not block.lines else None
            if line.strip() == fence:
                fence = ""
            elif option:
                block.caption = option[2] if option[1] == "caption" else block.caption
            elif line or block.lines:
                block.lines.append(line)
        elif match := _FENCE.fullmatch(line):
            fence = match[1]
            found.append(Block(match[3], number))
    return found


class Page:
    """One page while it is run."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.printed = ""
        self.names: dict[str, Any] = {"__name__": "page"}
        self.ran = 0

    def run(self) -> None:
        """Run every block; the first that does not do what the page says is an AssertionError."""
        runners = {"python": self._python, "output": self._output, "console": self._console}
        for block in blocks(self.path.read_text(encoding="utf-8")):
            if block.caption:
                target = self.folder / block.caption
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
            elif block.language in runners:
                runners[block.language](block)
                self.ran += 1

    def _python(self, block: Block) -> None:
        known = set(self.names)
        code = compile("\n" * block.line + block.text, str(self.path), "exec")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, self.names)
            for name in [name for name in self.names if name not in known]:
                if name.startswith("test_"):
                    fixture = Fixture(seed=0)
                    self.names[name](fixture)
                    fixture.close()
        self.printed = out.getvalue()

    def _output(self, block: Block) -> None:
        assert_shown(self.printed, block, self.path)

    def _console(self, block: Block) -> None:
        command, shown = "", Block("", block.line)
        for line in [*block.lines, "$ "]:
            if not line.startswith("$ "):
                shown.lines.append(line)
                continue
            if command:
                assert_shown(self._execute(command), shown, self.path)
            command, shown = line[2:], Block("", block.line)

    def _execute(self, command: str) -> str:
        program, *arguments = shlex.split(command)
        return _PROGRAMS[program](arguments, self.folder)


def run_ffabric(arguments: list[str], folder: Path) -> str:
    """What the command line prints, to either stream; "< FILE" at its end is its input."""
    out, read = io.StringIO(), ""
    if "<" in arguments:
        *arguments, _, name = arguments
        read = (folder / name).read_text(encoding="utf-8")
    with (
        mock.patch.object(sys, "stdin", io.StringIO(read)),
        mock.patch.object(sys, "argv", ["ffabric", *arguments]),
        mock.patch.dict(os.environ, COLUMNS="100"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
        contextlib.suppress(SystemExit),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # cyclopts wonders whether a test means sys.argv
        main()
    return out.getvalue()


def run_pytest(arguments: list[str], folder: Path) -> str:
    """What a pytest of its own prints."""
    without = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "xdist")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *without, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def run_compiler(arguments: list[str], folder: Path) -> str:
    """What the cross compiler prints."""
    command = "aarch64-linux-gnu-gcc"
    assert shutil.which(command), f"no {command}: apt-get install gcc-aarch64-linux-gnu"
    return subprocess.run(
        [command, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


_PROGRAMS = {
    "ffabric": run_ffabric,
    "pytest": run_pytest,
    "aarch64-linux-gnu-gcc": run_compiler,
}


def assert_shown(printed: str, block: Block, path: Path) -> None:
    """The block shows what was printed; "..." is anything, alone in a line any lines."""
    expected = [line.rstrip() for line in block.text.strip().splitlines()]
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in expected
    )
    seen = "".join(f"{line.rstrip()}\n" for line in printed.strip().splitlines())
    shown = "\n".join(expected)
    assert re.fullmatch(pattern, seen), f"{path}:{block.line} shows\n{shown}\n\nbut was\n{seen}"
