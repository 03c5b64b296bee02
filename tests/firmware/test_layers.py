"""Who may import whom in the firmware, imports for type checkers included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ffabric.firmware

ROOT = Path(ffabric.firmware.__file__).parent
PACKAGE = "ffabric.firmware"
ABOVE = {
    "state": set(),
    "monitor": {"state"},
    "manager": {"state"},
    "spmc": {"manager", "monitor", "state"},
    "hypervisor": {"manager", "monitor", "state"},
}
"""Each folder, and the folders that it may import from."""


def name_of(path):
    """The module in the file `path`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((PACKAGE, *parts)).removesuffix(".__init__")


FILES = {name_of(path): path for path in ROOT.rglob("*.py")}


def imported(path):
    """The modules of the firmware that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in FILES else node.module)  # type: ignore[arg-type]
    return {each for each in found if each in FILES}


GRAPH = {name: imported(path) for name, path in FILES.items()}


def folder(module):
    """The folder of a module right below the firmware's."""
    return module.removeprefix(f"{PACKAGE}.").split(".")[0]


@pytest.mark.parametrize("where", ABOVE)
def test_a_folder_imports_only_from_those_below_it(where):
    inside = {name: targets for name, targets in GRAPH.items() if folder(name) == where}
    assert inside
    wrong = {
        (name, each)
        for name, targets in inside.items()
        for each in targets
        if folder(each) not in ABOVE[where] | {where}
    }
    assert wrong == set()


def test_no_files_import_each_other():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
