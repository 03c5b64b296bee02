"""Python partitions: names found, classes called, and failures in one line."""

from pathlib import Path
from uuid import UUID

import pytest

from ffabric.system.description.python_target import (
    TargetError,
    find_target,
    resolve_target,
    target_fields,
    target_name,
)
from ffabric.system.manifest.manifest import Manifest
from ffabric.system.spec import PythonSource

CODE = """
class Adder:
    uuid = "5a7c6d2e-0000-4000-8000-000000000001"
    def __init__(self, step=1):
        self.step = step

class Broken:
    def __init__(self):
        raise RuntimeError("no key")

ready = Adder(7)
"""
UUID_A = UUID("5a7c6d2e-0000-4000-8000-000000000001")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "adder.py").write_text(CODE)
    (tmp_path / "bad.py").write_text("import nowhere_at_all\n")
    return tmp_path


def source(target: object, folder: Path, **options: object) -> PythonSource:
    return PythonSource(target, folder, options)


def test_a_class_in_a_file_is_called_with_the_options(folder: Path) -> None:
    adder = resolve_target(source("adder.py:Adder", folder, step=3))
    assert adder.step == 3  # type: ignore[attr-defined]
    assert type(adder) is find_target(source("adder.py:Adder", folder))


def test_an_object_is_taken_as_it_is(folder: Path) -> None:
    assert resolve_target(source("adder.py:ready", folder)).step == 7  # type: ignore[attr-defined]
    thing = object()
    assert resolve_target(source(thing, folder)) is thing
    assert resolve_target(source(None, folder)) is None


def test_a_module_is_imported(folder: Path) -> None:
    assert find_target(source("ffabric.system.manifest.manifest:Manifest", folder)) is Manifest


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("adder", "'adder' is not 'module:Class' or 'file.py:Class'"),
        ("adder.py:Add er", "is not 'module:Class' or 'file.py:Class'"),
        ("adder.py:Addr", "adder.py has no 'Addr' (did you mean 'Adder'?)"),
        ("none.py:Adder", "no such file: "),
        ("nowhere_at_all:Adder", "nowhere_at_all: ModuleNotFoundError: No module named"),
        ("bad.py:Adder", "bad.py: ModuleNotFoundError: No module named 'nowhere_at_all' ("),
        ("adder.py:Broken", "Broken(): RuntimeError: no key ("),
    ],
)
def test_what_cannot_be_had_is_one_line(folder: Path, target: str, line: str) -> None:
    with pytest.raises(TargetError) as caught:
        resolve_target(source(target, folder))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_one_name_in_two_folders_are_two_modules(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "adder.py").write_text("class Adder: pass\n")
    first = find_target(source("adder.py:Adder", folder))
    assert find_target(source("adder.py:Adder", other)) is not first


def test_what_a_partition_says_of_itself() -> None:
    class Plain:
        pass

    class Full:
        name = "full"
        uuids = (UUID_A,)
        manifest = {"ffa_version": 0x10001}  # noqa: RUF012

    class Whole:
        manifest = Manifest(description="whole")

    assert target_fields(Plain()) == {}
    assert target_name(Plain()) == target_name(Plain) == "plain"
    assert target_fields(Full) == {"ffa_version": 0x10001, "uuids": (UUID_A,)}
    assert target_name(Full()) == "full"
    assert target_fields(Whole)["description"] == "whole"
