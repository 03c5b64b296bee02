"""The faces: what is public, and that nothing else is needed, loaded or shown."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import ffabric
from ffabric.system.description.fields import ManifestFields
from ffabric.system.manifest.manifest import Manifest

ROOT = Path(__file__).parent.parent
MOST, MOST_BESIDE = 20, 15
FACES = {
    "ffabric": """
        DataAbort DeviceRegion DirectMessage Ffa FfaError Interrupt MemoryFlags MemoryPermissions
        NotificationFlags Partition RULES Status System Trace VmMessages boot refuses sp trusted_os
        vm
    """,
    "ffabric.virtio": """
        Device DeviceLost DeviceSide Driver DriverSide VhostUserDevice boot_with_devices devices
        SocketDevices SocketDriver buses drivers kinds programs
    """,
    "ffabric.optee": """
        BlockingDriver Command Driver Enumerated Message NULL OpTee Result Supplicant TeeError
        TrustedApp TrustedOs Type Value compare
    """,
    "ffabric.trusty": """
        Buffer Channel Memory Native Parcel Proxy Service TipcDevice TipcDriver TipcError TipcFile
        TransactionError
    """,
    "ffabric.testing": """
        Blocked BlockingFfa Fixture Handle Invariants MemoryAttributes NotRefused
        NotificationSources PartitionCrashed ReplayError check_file fuzz load_image parametrize
        read_system
    """,
}
NAMES = [(face, name) for face, names in FACES.items() for name in names.split()]
LOADED = """
import json, sys
known = set(sys.modules)
for face in sys.argv[1:]:
    __import__(face)
print(json.dumps(sorted(set(sys.modules) - known)))
"""
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def source(face):
    """The syntax tree of a face."""
    return ast.parse(Path(importlib.import_module(face).__file__).read_text("utf-8"))  # type: ignore[arg-type]


@pytest.mark.parametrize("face", FACES)
def test_a_face_exports_exactly_this(face):
    names = sorted(FACES[face].split())
    assert sorted(importlib.import_module(face).__all__) == names
    assert len(names) <= (MOST if face == "ffabric" else MOST_BESIDE)


@pytest.mark.parametrize("face", FACES)
def test_what_is_listed_is_what_type_checkers_see(face):
    (checked,) = [node for node in source(face).body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"  # type: ignore[attr-defined]
        for node in checked.body
        for alias in node.names  # type: ignore[attr-defined]
    }
    module = importlib.import_module(face)
    assert sorted(seen) == sorted(module.__all__) == dir(module)
    for name, home in module._HOMES.items():
        where, _, inner = home.partition(":")
        if inner == ".":
            where, _, inner = where.rpartition(".")
        assert seen[name] == f"{where}:{inner or name}"


@pytest.mark.parametrize("faces", [["ffabric"], list(FACES)], ids=["ffabric", "all"])
def test_importing_a_face_loads_nothing_but_ffabric(faces):
    environment = {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-S", "-c", LOADED, *faces]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert {name.partition(".")[0] for name in json.loads(done.stdout)} == {"ffabric"}
    assert len(json.loads(done.stdout)) == len(faces) + 1


@pytest.mark.parametrize(("face", "name"), NAMES)
def test_a_name_is_there_when_it_is_asked_for(face, name):
    module = importlib.import_module(face)
    value = getattr(module, name)
    assert getattr(module, name) is value
    assert value.__doc__


@pytest.mark.parametrize(("face", "name"), NAMES)
def test_functions_and_exceptions_say_where_they_are_public(face, name):
    """What tracebacks and tests show. A class stays where its source and its annotations are."""
    value = getattr(importlib.import_module(face), name)
    if inspect.isfunction(value) or (isinstance(value, type) and issubclass(value, Exception)):
        assert value.__module__ == face
    elif isinstance(value, type):
        assert inspect.getsource(value)


@pytest.mark.parametrize(("face", "name"), NAMES)
def test_an_object_is_shown_by_what_it_is_and_not_by_its_address(face, name):
    value = getattr(importlib.import_module(face), name)
    kind = value if isinstance(value, type) else type(value)
    assert kind.__repr__ is not object.__repr__  # type: ignore[comparison-overlap]


def test_what_is_misspelt_is_told_with_what_may_have_been_meant():
    done = subprocess.run(
        [sys.executable, "-c", "import ffabric; ffabric.Partion"],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.stderr.rstrip().endswith("no attribute 'Partion'. Did you mean: 'Partition'?")


def test_there_is_nothing_else():
    with pytest.raises(AttributeError, match="module 'ffabric' has no attribute 'bot'"):
        ffabric.bot  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'bot' from 'ffabric'"):
        exec("from ffabric import bot")


def test_python_says_of_a_manifest_what_a_manifest_says():
    assert list(ManifestFields.__annotations__) == [
        field.name for field in msgspec.structs.fields(Manifest)
    ]


def imports(text):
    """Modules of ours that the Python in a page imports."""
    pattern = r"(?m)^\s*(?:>>> )?(?:from (ffabric[\w.]*) import|import (ffabric[\w.]*))"
    return {one or other for one, other in re.findall(pattern, text)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_documentation_imports_from_faces_alone(path):
    text = path.read_text("utf-8")
    assert imports(text) <= set(FACES)
    shown = {*re.findall(r"auto\w+:: (ffabric[\w.]*)", text)}
    assert {each.rpartition(".")[0] for each in shown} <= {
        *FACES,
        "ffabric.system.description.fields",
    }


@pytest.mark.parametrize("face", FACES)
def test_the_reference_documents_every_name(face):
    page = ROOT / "docs/reference/python" / f"{face.rpartition('.')[2]}.md"
    shown = re.findall(rf"(?m)auto\w+:: {face}\.(\w+)$", page.read_text("utf-8"))
    assert sorted(shown) == sorted(FACES[face].split())


def test_the_classes_that_people_write_are_documented_in_their_words():
    for kind in (ffabric.Partition, ffabric.Ffa, ffabric.System):
        public = [name for name in dir(kind) if not name.startswith("_")]
        assert all(getattr(kind, name).__doc__ for name in public if callable(getattr(kind, name)))
