"""The oracle knows of the firmware what is in memory and in the trace, not what it thinks."""

import ast
from pathlib import Path

import pytest

from ffabric.lab import oracle

ALLOWED = {
    "ffabric.firmware.state.events": "what a trace says",
    "ffabric.firmware.state.ownership": "the meaning of software's bits in a descriptor",
    "ffabric.firmware.state.context": "the names of a context's states",
}
MODULES = sorted(Path(oracle.__file__).parent.glob("*.py"))
ASKED = {"regions", "mailbox", "notifications"}
"""What a partition manager knows of partitions and their memory."""


def imports(tree):
    """The modules that are imported while it runs, not for its types alone."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_imports_only_the_form_of_what_it_reads(path):
    found = {name for name in imports(ast.parse(path.read_text())) if ".firmware" in name}
    assert found <= {*ALLOWED}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_asks_no_manager(path):
    found = {each.attr for each in ast.walk(ast.parse(path.read_text())) if hasattr(each, "attr")}
    assert not found & ASKED
