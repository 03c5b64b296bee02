"""Reading the files that a description names."""

from __future__ import annotations

from pathlib import Path

from ffabric.system.options.problems import Problems, did_you_mean


def read_file(path: Path, where: str, key: str, problems: Problems) -> bytes | None:
    """The file's bytes; None, and a problem, if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, beside)
        problems.add(where, key, f"no such file: {path}{hint}")
    except OSError as error:
        problems.add(where, key, f"{path}: {error.strerror}")
    return None
