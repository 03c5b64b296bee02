"""The ``ffabric`` fixture, and what a failing test says.

    def test_adder(ffabric):
        system = ffabric.boot(sps=[Adder()], vms=["client"])
        ...

``class_ffabric``, ``module_ffabric``, ``package_ffabric`` and ``session_ffabric`` are the same for
fixtures of a wider scope. ``--ffabric-seed N`` sets the seed of every system that does not name its
own, ``--ffabric-seeds N`` runs each test with so many of them. A test derives its own seed from
that, so that ``-k`` and ``-n`` change nothing.

A failure shows what all systems have done since the test began, whoever booted them: refusals with
their rules, deaths, the last calls; and the command that runs the test again. ffabric's own frames
are left out.
"""

from __future__ import annotations

import os
import re
import shlex
import zlib
from argparse import SUPPRESS
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

import ffabric as face
from ffabric.pytest_plugin import plain_imports
from ffabric.pytest_plugin.fixture import Fixture
from ffabric.pytest_plugin.variants import MARK, Variant, variants
from ffabric.session.opened import LISTENERS
from ffabric.session.story import Watch, tell

if TYPE_CHECKING:
    from ffabric.session.system import System

_Scope = Literal["function", "class", "module", "package", "session"]

_WATCH = pytest.StashKey[Watch]()
_FAILED = pytest.StashKey[bool]()
_OURS = str(Path(face.__file__).parent) + os.sep
_BUGS = (AssertionError, AttributeError, IndexError, KeyError, NameError, RecursionError)
"""What ffabric does not raise on purpose: when it does, its frames are shown."""


plain_imports.install()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("ffabric")
    group.addoption(
        "--ffabric-seed", type=int, default=0, help="base seed of the systems that tests boot"
    )
    group.addoption(
        "--ffabric-seeds",
        type=int,
        default=0,
        metavar="N",
        help="run each test that boots systems with N base seeds, from --ffabric-seed on",
    )
    group.addoption(
        "--ffabric-faults",
        action="store_true",
        help="run the tests again with each historical bug of FF-A firmware switched on in ours, "
        "and tell which of them the tests catch",
    )
    group.addoption(
        "--ffabric-fault",
        action="append",
        default=[],
        metavar="NAME",
        help="run the tests with this bug switched on; with --ffabric-faults, try only those so "
        "named, or of classes (A to P) so named",
    )
    group.addoption(
        "--ffabric-invariants",
        metavar="NAMES",
        help="judge every system that tests boot at every call: ownership, isolation, contexts, "
        "buffers, notifications, progress, optee, with commas between them; all but optee: all",
    )
    group.addoption("--ffabric-only", type=Path, help=SUPPRESS)
    group.addoption(
        "--ffabric-traces",
        type=Path,
        metavar="DIR",
        help="write a trace of each system that a failing test has booted to a file in DIR",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark that `parametrize` makes; let historical bugs be tried."""
    config.addinivalue_line("markers", f"{MARK}: made by ffabric.testing.parametrize")
    named = config.getoption("--ffabric-invariants")
    if named is not None:
        from ffabric.lab.invariants.invariants import names_in  # noqa: PLC0415 - as below

        try:
            names_in(named)
        except ValueError as error:
            raise pytest.UsageError(f"--ffabric-invariants: {error}") from None
    if config.getoption("--ffabric-faults") or config.getoption("--ffabric-fault"):
        from ffabric.pytest_plugin.faults import configure  # noqa: PLC0415 - only who asks for it

        configure(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of the fixture in each of its variants."""
    mark = metafunc.definition.get_closest_marker(MARK)
    names = [name for name in _FIXTURES if name in metafunc.fixturenames]
    if mark is not None and not names:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: parametrize of ffabric.testing is for tests that use "
            f"the ffabric fixture"
        )
    config = metafunc.config
    found = variants(mark, _base(config), config.getoption("--ffabric-seeds")) if names else []
    if found:
        ids = [each.id for each in found]
        metafunc.parametrize(names, [[each] * len(names) for each in found], indirect=True, ids=ids)


def _folder(request: pytest.FixtureRequest) -> Path:
    """Where the test, or the first of those that share a fixture, is."""
    path: Path = request.node.path
    return path if path.is_dir() else path.parent


def _fixture(scope: _Scope) -> Callable[..., Iterator[Fixture]]:
    def ffabric(request: pytest.FixtureRequest) -> Iterator[Fixture]:
        variant: Variant = getattr(request, "param", None) or Variant()
        base = _base(request.config) if variant.seed is None else variant.seed
        test = variant.without_seed(request.node.nodeid)
        fixture = Fixture(base ^ zlib.crc32(test.encode()), variant, _folder(request))
        yield fixture
        fixture.close()

    name = "ffabric" if scope == "function" else f"{scope}_ffabric"
    ffabric.__doc__ = f"Boot FF-A systems in a {'test' if scope == 'function' else scope}."
    return pytest.fixture(scope=scope, name=name)(ffabric)


ffabric = _fixture("function")
class_ffabric = _fixture("class")
module_ffabric = _fixture("module")
package_ffabric = _fixture("package")
session_ffabric = _fixture("session")
_FIXTURES = ("ffabric", "class_ffabric", "module_ffabric", "package_ffabric", "session_ffabric")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Watch all systems from the beginning of a test to its end."""
    folder: Path | None = item.config.getoption("--ffabric-traces")
    place = None if folder is None else folder / re.sub(r"[^\w.-]+", "-", item.nodeid).strip("-")
    watch = item.stash[_WATCH] = Watch(place)
    named = item.config.getoption("--ffabric-invariants")
    judges = None if named is None else _judging(named)
    item.stash[_FAILED] = False
    if any(name in _names(item) for name in _FIXTURES):
        item.user_properties.append(("ffabric_seed", _seed(item)))
    try:
        return (yield)
    finally:
        if judges is not None:
            LISTENERS.remove(judges)
        watch.end(keep_traces=item.stash[_FAILED])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say with a failure what happened, and how it is made to happen again."""
    if call.excinfo is not None:
        _hide(call.excinfo.value)
    report = yield
    watch = item.stash.get(_WATCH, None)
    if report.failed and watch is not None:
        item.stash[_FAILED] = True
        if watch.recorders or any(name in _names(item) for name in _FIXTURES):
            _tell(item, watch, report, None if call.excinfo is None else call.excinfo.value)
    return report


def _judging(names: str) -> Callable[[System], object]:
    """Judge each system that is booted from now on; what is returned is in the way to that."""
    from ffabric.lab.invariants.invariants import (  # noqa: PLC0415 - only who asks for it
        Invariants,
        names_in,
    )

    chosen = names_in(names)

    def judge(system: System) -> object:
        return Invariants(system, *chosen)

    LISTENERS.append(judge)  # behind that of traces, which hear everything first
    return judge


def _tell(
    item: pytest.Item, watch: Watch, report: pytest.TestReport, raised: BaseException | None
) -> None:
    again = _again(item)
    traces, pages = ([str(path) for path in paths] for paths in (watch.traces, watch.pages))
    kept = "\n".join([*traces, *pages])
    told = [*tell(watch.recorders, raised), ("traces", kept), ("run it again", again)]
    report.sections += [(f"ffabric: {title}", text) for title, text in told if text]
    rules = dict.fromkeys(rule for each in watch.recorders for rule in each.rules)
    for name, text in (
        ("ffabric_again", again),
        ("ffabric_refused", " ".join(rules)),
        ("ffabric_traces", " ".join(traces)),
        ("ffabric_pages", " ".join(pages)),
    ):
        if text:
            item.user_properties.append((name, text))
    if item.config.pluginmanager.hasplugin("html"):
        from pytest_html import extras  # noqa: PLC0415 - only who has it

        paths = [*watch.pages, *watch.traces]
        links = [extras.url(path.absolute().as_uri(), name=path.name) for path in paths]
        report.extras = [*getattr(report, "extras", []), *links]  # type: ignore[attr-defined]


def _names(item: pytest.Item) -> Sequence[str]:
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return names


def _variant(item: pytest.Item) -> Variant:
    """The variant in which a test is run."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    return next((params[name] for name in _FIXTURES if name in params), Variant())


def _seed(item: pytest.Item) -> int:
    seed = _variant(item).seed
    return _base(item.config) if seed is None else seed


def _base(config: pytest.Config) -> int:
    base: int = config.getoption("--ffabric-seed")
    return base


def _again(item: pytest.Item) -> str:
    """The command that runs a test again, from where pytest was started."""
    config, variant = item.config, _variant(item)
    seed, test = _base(config), item.nodeid
    if variant.seed is not None and item.get_closest_marker(MARK) is None:
        seed, test = variant.seed, variant.without_seed(test)
    path = os.path.relpath(item.path, config.invocation_params.dir)
    name = test.partition("::")[2]
    return shlex.join(["pytest", f"{path}::{name}", "--ffabric-seed", str(seed)])


def _hide(raised: BaseException | None) -> None:
    """Leave the frames of ffabric out of what is shown of an exception, and of its causes."""
    while raised is not None:
        at = raised.__traceback__
        while at is not None:
            if at.tb_frame.f_code.co_filename.startswith(_OURS):
                at.tb_frame.f_globals["__tracebackhide__"] = _is_for_users
            at = at.tb_next
        raised = raised.__cause__ or raised.__context__


def _is_for_users(raised: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether an exception tells a user something, not that ffabric has a bug."""
    last = raised.traceback[-1]
    return not (type(raised.value) in _BUGS and str(last.path).startswith(_OURS))
