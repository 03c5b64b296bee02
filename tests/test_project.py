"""The package as a whole: what it needs, what it imports, how it is laid out."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ffabric

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FEATURES = (
    "aarch64",
    "cli",
    "dts",
    "trace",
    "lcov",
    "tee",
)  # the extras that the package itself imports from
ELSEWHERE = ("scheduler",)  # as well, but for many machines: not everybody's
DOORS = (
    "ffabric",
    "ffabric.abi.ffa.calls",
    "ffabric.firmware.firmware",
    "ffabric.guests.partition",
    "ffabric.session.booting",
    "ffabric.system.description.check",
    "ffabric.system.description.toml.system",
    "ffabric.system.description.python",
)

REPORT = """
import json, sys
import msgspec  # with what it brings
known = set(sys.modules)
for door in sys.argv[1:]:
    __import__(door)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - known})))
"""


def distribution(requirement: str) -> str:
    """The name in a requirement, as package indexes spell it."""
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def third_party(path: Path) -> set[str]:
    """The top-level packages of others that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names - sys.stdlib_module_names - {"ffabric"}


def test_the_core_needs_msgspec_alone():
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *DOORS], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) - sys.stdlib_module_names == {"ffabric"}
    assert [distribution(each) for each in PROJECT["dependencies"]] == ["msgspec"]


def test_what_is_imported_is_what_the_extras_declare():
    declared = {distribution(each) for each in PROJECT["dependencies"]}
    for extra in (*FEATURES, *ELSEWHERE):
        declared |= {distribution(each) for each in PROJECT["optional-dependencies"][extra]}
    providers = importlib.metadata.packages_distributions()
    imported = {
        distribution(providers[name][0])
        for path in SOURCES
        if "pytest_plugin" not in path.parts  # loaded by pytest, which is therefore there
        for name in third_party(path)
    }
    assert imported == declared


def test_all_is_every_feature():
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert everything == f"ffabric[{','.join(FEATURES)}]"


@pytest.mark.parametrize("group", ["console_scripts", "pytest11"])
def test_an_entry_point_leads_somewhere(group):
    found = [e for e in importlib.metadata.entry_points(group=group) if e.name == "ffabric"]
    assert found
    assert found[0].load()


def test_the_version_is_told_once():
    assert importlib.metadata.version("ffabric") == PROJECT["version"] == ffabric.__version__


def test_no_file_is_one_that_people_fear():
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]
    lines = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in files}
    assert {name: count for name, count in lines.items() if count > 900} == {}


def test_every_test_file_has_a_name_of_its_own():
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    del names["conftest.py"]
    assert [name for name, count in names.items() if count > 1] == []


FILES = {
    ".".join(path.relative_to(ROOT / "src/ffabric").with_suffix("").parts): path
    for path in (ROOT / "src/ffabric").rglob("*.py")
}


def files_imported(path):
    """The files of ours that one imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ffabric."):
            module = str(node.module).removeprefix("ffabric.")
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                yield whole if whole in FILES else module


def test_no_file_needs_one_that_needs_it():
    """Neither for type checkers nor inside a function."""
    graph = {
        name: {each for each in files_imported(path) if each != name}
        for name, path in FILES.items()
    }
    TopologicalSorter(graph).prepare()
