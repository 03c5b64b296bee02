"""The commands of ``ffabric shell``."""

from __future__ import annotations

import cmd
import shlex
from collections.abc import Callable, Iterable
from typing import IO, Any

from ffabric.abi.ffa import functions as fid
from ffabric.abi.words import PAGE
from ffabric.firmware.state import ownership
from ffabric.firmware.state.rules import RULES
from ffabric.lab.shell.past import Past
from ffabric.machine.access import DataAbort
from ffabric.machine.machine import Stalled
from ffabric.session.history import CannotCall, CannotGoBack, History
from ffabric.session.moment import Moment
from ffabric.session.system import System
from ffabric.system.options.visible import visible

Run = History[System] | Past
MOST_BYTES = 4096
_ROW = 16


class Wrong(Exception):  # noqa: N818 - the user's mistake
    """A command that cannot be done; the message is the line to print."""


class Shell(cmd.Cmd):
    """A run, or a trace, in the hands of a person. ``help`` lists the commands."""

    prompt = "(ffabric) "
    doc_header = "Commands; help COMMAND says more. A position is a number of exits, or of a line."

    def __init__(
        self,
        run: Run,
        stdin: IO[str] | None = None,
        stdout: IO[str] | None = None,
    ) -> None:
        super().__init__(stdin=stdin, stdout=stdout)
        self.use_rawinput = stdin is None
        self.run: Run = run
        self.failed = False
        """A command could not be done."""
        self._moments: dict[int, Moment] = {}

    # The loop.

    def onecmd(self, line: str) -> bool:
        """Do one command; what it cannot do is told in a line."""
        try:
            return bool(super().onecmd(line))
        except (
            Wrong,
            CannotCall,
            CannotGoBack,
            DataAbort,
            LookupError,
            Stalled,
            TypeError,
        ) as error:
            self._complain(str(error.args[0] if isinstance(error, LookupError) else error))
        except ValueError as error:
            self._complain(str(error))
        return False

    def _complain(self, message: str) -> None:
        self.failed = True
        self._say(message.partition("\n")[0])

    def default(self, line: str) -> None:
        """A command that there is not."""
        raise Wrong(f"there is no command {line.split(maxsplit=1)[0]!r}: help lists them")

    def emptyline(self) -> bool:
        """An empty line repeats nothing."""
        return False

    def _say(self, text: str) -> None:
        if text:
            print(*map(visible, text.split("\n")), sep="\n", file=self.stdout)

    def _where(self) -> None:
        self._say(self.run.last())
        end = f" ({self.run.end})" if self.run.end else ""
        self._say(f"at {self.run.position}{end}")

    def do_help(self, arg: str) -> None:
        """``help [COMMAND]``: the commands, or what one does."""
        if not arg:
            super().do_help(arg)
            return
        method = getattr(self, f"do_{arg}", None)
        if method is None:
            raise Wrong(f"there is no command {arg!r}")
        self._say((method.__doc__ or "").replace("``", ""))

    # To and fro.

    def do_step(self, line: str) -> None:
        """``step [N]``: go on for N exits, 1 if it is not said."""
        self.run.step(_number(line, 1))
        self._where()

    def do_back(self, line: str) -> None:
        """``back [N]``: go back N exits, 1 if it is not said."""
        self.run.back(_number(line, 1))
        self._where()

    def do_goto(self, line: str) -> None:
        """``goto N``: go to position N, forward or back."""
        self.run.goto(_number(line))
        self._where()

    def do_run(self, _: str) -> None:
        """``run``: go on to the end."""
        self.run.run()
        self._where()

    def do_until(self, line: str) -> None:
        """``until RULE|CALL|PAGE``: go on until one refuses, is called, or changes hands."""
        met = self.run.until(_one(line, "a rule, a call or the physical address of a page"))
        self._where()
        if met is None:
            self._say("it did not happen any more")

    def complete_until(self, text: str, *_: object) -> list[str]:
        """Rules and calls."""
        names = [each.base_name for each in fid.FUNCTIONS.values()]
        return _beginning(text, [*(rule.id for rule in RULES), *names])

    # Questions.

    def do_list(self, line: str) -> None:
        """``list [N]``: the calls, answers and refusals of the last N positions, 10 if not said."""
        count = _number(line, 10)
        self._say(self.run.text(max(0, self.run.position - count + 1)))

    def do_why(self, line: str) -> None:
        """``why PAGE``: whose a page (physical address) was, who borrowed it, and since when."""
        found = self.run.why(_number(line))
        if not found:
            raise Wrong(f"nothing is known of {line.strip()}")
        for position, holding in found:
            whose = f"{holding.state} by" if holding.state != "own" else "of"
            has = f", borrowed by {', '.join(holding.borrowers)}" if holding.borrowers else ""
            self._say(f"since {position}: {whose} {holding.owner or 'nobody'}{has}")

    def do_regs(self, line: str) -> None:
        """``regs [CONTEXT]``: the state and registers of a context (sp.0), or of all."""
        wanted = line.strip()
        rows = [(name, text) for name, text in self.run.state().items() if _is_of(name, wanted)]
        if not rows:
            raise Wrong(f"there is no context {wanted!r}")
        for name, text in rows:
            self._say(f"{name}: {text}")
        if wanted and isinstance(self.run, History):
            self._say(_engine_registers(self.run, wanted))

    def complete_regs(self, text: str, *_: object) -> list[str]:
        """Contexts."""
        return _beginning(text, self._contexts())

    def do_state(self, _: str) -> None:
        """``state``: all contexts, buffers, notifications, memory transactions."""
        self._say(repr(self.run.state()))

    def do_diff(self, line: str) -> None:
        """``diff A B``: what is different at position B from what it was at A."""
        words = line.split()
        if len(words) != 2:
            raise Wrong("diff needs two positions")
        here = self.run.position
        first, second = (self._moment(_number(word)) for word in words)
        self.run.goto(here)
        self._say(repr(first.diff(second)))

    def _moment(self, position: int) -> Moment:
        self.run.goto(position)
        return self.run.state()

    def do_mem(self, line: str) -> None:
        """``mem ENDPOINT ADDRESS [BYTES]``: what an endpoint reads at an IPA."""
        history, words = self._live("mem"), line.split()
        if len(words) not in (2, 3):
            raise Wrong("mem needs an endpoint and an address")
        address, count = _number(words[1]), _number(words[2]) if len(words) == 3 else 64
        if not 0 < count <= MOST_BYTES:
            raise Wrong(f"{count} bytes: 1 to {MOST_BYTES} are shown at a time")
        endpoint = self._endpoint(history, words[0])
        for at in range(address, address + count, _ROW):
            data = endpoint.memory.read(at, min(_ROW, address + count - at))
            letters = "".join(chr(each) if 32 <= each < 127 else "." for each in data)
            self._say(f"{at:#14x}  {data.hex(' '):{3 * _ROW}} {letters}")

    complete_mem = complete_stage2 = complete_call = lambda self, text, *_: _beginning(
        text, self._names()
    )

    def do_stage2(self, line: str) -> None:
        """``stage2 ENDPOINT [IPA]``: what its stage-2 tables map, all of it or one page."""
        history, words = self._live("stage2"), line.split()
        if len(words) not in (1, 2):
            raise Wrong("stage2 needs an endpoint")
        table = self._endpoint(history, words[0]).partition.stage2
        if table is None:
            raise Wrong(f"{words[0]} has no stage 2")
        ranges = (
            [(_number(words[1]) & -PAGE, 1)] if len(words) == 2 else [(0, 1 << table.ipa_bits - 12)]
        )
        for ipa, pa, pages, attrs in table.runs_of(ranges):
            if attrs:
                self._say(f"{ipa:#14x} -> {pa:#14x} {pages:6} pages  {ownership.name(attrs)}")
            elif len(words) == 2:
                self._say(f"{ipa:#14x}: not mapped")

    def do_call(self, line: str) -> None:
        """``call ENDPOINT[.VCPU] X0 [X1 ...]``: make a call as a partition; X0 may be a name."""
        history, words = self._live("call"), line.split()
        if len(words) < 2:
            raise Wrong("call needs an endpoint and registers")
        name, _, vcpu = words[0].partition(".")
        index = _number(vcpu) if vcpu else 0
        answer = history.call(name, _function(words[1]), *map(_number, words[2:]), vcpu=index)
        self._say(" ".join(f"x{n}={value:#x}" for n, value in enumerate(answer) if value))
        self._where()

    def _live(self, what: str) -> History[System]:
        if isinstance(self.run, History):
            return self.run
        raise Wrong(f"{what}: a trace has no memory: ffabric shell SYSTEM --replay TRACE has")

    @staticmethod
    def _endpoint(history: History[System], name: str) -> Any:
        inside = history.system.system
        inside.resolve(name)
        return inside.endpoint(name)

    def _names(self) -> list[str]:
        if isinstance(self.run, Past):
            return self.run.names
        return [*self.run.system.system.endpoints]

    def _contexts(self) -> list[str]:
        if isinstance(self.run, Past):
            return self.run.contexts
        endpoints = self.run.system.system.endpoints.values()
        return [ctx.name for each in endpoints for ctx in each.partition.contexts]

    # The end.

    def do_quit(self, _: str) -> bool:
        """``quit``: end the shell."""
        return True

    do_exit = do_EOF = do_quit  # noqa: N815 - what cmd calls the end of its input


def _engine_registers(history: History[System], name: str) -> str:
    """The registers of an image, or nothing."""
    for endpoint in history.system.system.endpoints.values():
        for ctx in endpoint.partition.contexts:
            registers: Callable[[], dict[str, int]] | None
            registers = getattr(ctx.runner, "registers", None)
            if ctx.name == name and registers is not None and ctx.runner.where():
                found = registers()
                return "\n".join(f"{register:6} {value:#x}" for register, value in found.items())
    return ""


def _is_of(name: str, context: str) -> bool:
    head, _, title = name.rpartition(" ")
    wanted = title in ("state", "registers", "caller", "callee", "handler", "interrupts")
    return wanted and (not context or head == context)


def _one(line: str, what: str) -> str:
    words = shlex.split(line)
    if len(words) != 1:
        raise Wrong(f"needs {what}")
    return words[0]


def _number(text: str, default: int | None = None) -> int:
    text = text.strip()
    if not text and default is not None:
        return default
    try:
        value = int(text, 0)
    except ValueError:
        raise Wrong(f"{text!r} is not a number" if text else "a number is missing") from None
    if not 0 <= value < 1 << 64:
        raise Wrong(f"{text} is not a 64-bit number")
    return value


def _function(text: str) -> int:
    """A function by its number, or by its name."""
    for number, each in fid.FUNCTIONS.items():
        if text.upper() in (each.name, each.name.removesuffix("_64")):
            return number
    if text.upper().startswith("FFA_"):
        raise Wrong(f"there is no call {text!r}")
    return _number(text)


def _beginning(text: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(text)})
