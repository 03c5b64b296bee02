"""The lists in the repository: mutants that tests notice, and mutants that nobody can notice."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mutants.mutant import Mutant

HERE = Path(__file__).parent
KEPT = HERE / "kept.toml"
EQUIVALENT = HERE / "equivalent.toml"


class Kept(Mutant, frozen=True, kw_only=True, omit_defaults=True):
    """A mutant that tests have noticed."""

    tests: list[str]
    """Names of test files, wherever they are; they are unique over all folders."""


class Equivalent(Mutant, frozen=True, kw_only=True, omit_defaults=True):
    """A mutant that does the same as the original."""

    reason: str


class _KeptFile(msgspec.Struct):
    mutant: list[Kept] = []


class _EquivalentFile(msgspec.Struct):
    mutant: list[Equivalent] = []


def identity(mutant: Mutant) -> tuple[str, str, str, int]:
    """What makes a mutant this one, in whichever file it is."""
    return mutant.function, mutant.before, mutant.after, mutant.nth


def read_kept() -> list[Kept]:
    """The mutants that must stay killed."""
    if not KEPT.exists():
        return []
    return msgspec.toml.decode(KEPT.read_bytes(), type=_KeptFile).mutant


def read_equivalent() -> list[Equivalent]:
    """The mutants that do not count."""
    return msgspec.toml.decode(EQUIVALENT.read_bytes(), type=_EquivalentFile).mutant


def write_kept(mutants: list[Kept]) -> None:
    """Write the list anew, by files and functions."""
    ordered = sorted(mutants, key=lambda each: (each.file, each.function, each.before, each.after))
    text = [
        "# Mutants that tests have noticed and must notice again: make mutants-kept.",
        "# Written by make mutants KEEP=N; what is told of a line survives that it moves.",
    ]
    for each in ordered:
        text += ["", "[[mutant]]"]
        for key, value in msgspec.to_builtins(each).items():
            text.append(f"{key} = {_toml(value)}")
    KEPT.write_text("\n".join(text) + "\n", "utf-8")


def _toml(value: object) -> str:
    """A value: strings with several lines as such, for people."""
    if isinstance(value, str) and "\n" in value and "'''" not in value:
        return f"'''\n{value}'''"
    if isinstance(value, str) and "'" not in value and "\n" not in value:
        return f"'{value}'"
    return msgspec.json.encode(value).decode()
