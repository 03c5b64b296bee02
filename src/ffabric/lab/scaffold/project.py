"""Make a project: a partition, its manifest, a system, tests, and a file for CI."""

from __future__ import annotations

import keyword
import re
import shutil
import uuid
from importlib import resources
from pathlib import Path
from string import Template

_FILES = {
    "README.md": "README.md.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "partition.py": "partition.py.txt",
    "manifest.dts": "manifest.dts.txt",
    "system.toml": "system.toml.txt",
    "test_partition.py": "test_partition.py.txt",
    ".gitignore": "gitignore.txt",
    ".github/workflows/test.yml": "ci.yml.txt",
}
"""Path in the project -> the text that it is made of, with $names."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TAKEN = frozenset({"client", "partition"})
"""What else in the project has the name."""


class BadName(ValueError):  # noqa: N818 - what it is
    """A project cannot be called so; the message says why, in a line."""


def make_project(folder: Path, version: str) -> list[Path]:
    """Make ``folder`` a project that is called as it is: the files that were written.

    The folder must not exist: FileExistsError. `version` is the least of ffabric that the project
    asks for. Whatever goes wrong, nothing is overwritten and nothing is left half made.
    """
    texts = _texts(_check_name(folder.name), version)
    folder.mkdir()
    try:
        return [_write(folder / path, text) for path, text in texts.items()]
    except BaseException:
        shutil.rmtree(folder)
        raise


def _check_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise BadName(
            f"{name!r} is not a name for a project: letters a to z, digits, single hyphens"
        )
    if name in _TAKEN or keyword.iskeyword(_class_name(name)):
        raise BadName(f"{name!r} has another meaning in the project: call it by another name")
    return name


def _class_name(name: str) -> str:
    return "".join(map(str.capitalize, name.split("-")))


def _texts(name: str, version: str) -> dict[str, str]:
    service = uuid.uuid4()
    said = {
        "name": name,
        "title": name.replace("-", " ").capitalize(),
        "class_name": _class_name(name),
        "uuid": str(service),
        "uuid_words": " ".join(f"0x{service.hex[at : at + 8]}" for at in range(0, 32, 8)),
        "version": version,
    }
    here = resources.files(__package__) / "files"
    return {
        path: Template((here / file).read_text("utf-8")).substitute(said)
        for path, file in _FILES.items()
    }


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path
