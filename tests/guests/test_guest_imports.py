"""Files of one kind of guest software do not import each other, for type checkers neither."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ffabric.guests

ROOT = Path(ffabric.guests.__file__).parent
FILES = {
    ".".join(("ffabric.guests", *path.relative_to(ROOT).with_suffix("").parts)): path
    for path in ROOT.rglob("*.py")
}


def imported(path):
    """The guests' modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(FILES)


GRAPH = {name: imported(path) for name, path in FILES.items()}


@pytest.mark.parametrize("folder", ["calls", "optee", "trusty", "virtio", "virtio_msg"])
def test_no_files_import_each_other(folder):
    inside = {n: targets for n, targets in GRAPH.items() if n.split(".")[2] == folder}
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
