"""The folder of a campaign: its corpus, from which a later one goes on, and what is broken.

Every file is one of calls (`ffabric calls FILE --system SYSTEM`). Those of the corpus are called
after their calls, what breaks something is called ``broken-...``; all others are a user's own cases
to begin with, and stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ffabric.lab.calls.lines import Mistake
from ffabric.lab.calls.systems import check
from ffabric.lab.guided.campaign import Broken, Kept
from ffabric.lab.guided.cases import decode, name_of
from ffabric.system.files.reading import read_bytes
from ffabric.system.spec import SystemSpec

SUFFIX = ".jsonl"
LARGEST = 1 << 20
"""The most bytes of a case."""
_OURS = re.compile(r"[0-9a-f]{16}\.jsonl")
_BROKEN = "broken-"


class BadCases(ValueError):  # noqa: N818 - what they are
    """Files of the folder are no cases of the system: a line for each mistake."""


def read_cases(folder: Path, spec: SystemSpec, names: Iterable[str]) -> list[bytes]:
    """The cases in ``folder``, in the order of their names; BadCases if one is none.

    They are calls of the endpoints ``names`` of the system.
    """
    found: list[bytes] = []
    wrong: list[str] = []
    for file in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        if file.name.startswith(_BROKEN):
            continue
        text = read_bytes(file, LARGEST)
        calls, mistakes = decode(text)
        mistakes += check(calls, spec)
        strangers = {each.endpoint: each.line for each in calls if each.endpoint not in names}
        mistakes += [Mistake(at, f"{who} is not an attacker") for who, at in strangers.items()]
        wrong += [each.said(str(file)) for each in mistakes]
        found.append(text)
    if wrong:
        raise BadCases("\n".join(wrong))
    return found


def write_cases(folder: Path, corpus: Iterable[Kept]) -> None:
    """Let the corpus in ``folder`` be this one."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{name_of(each.text)}{SUFFIX}": each.text for each in corpus}
    for name, text in texts.items():
        (folder / name).write_bytes(text)
    for file in folder.iterdir():
        if _OURS.fullmatch(file.name) and file.name not in texts:
            file.unlink()


def write_broken(folder: Path, broken: Broken) -> Path:
    """Keep a case that breaks something: its file, which has the same name each time."""
    folder.mkdir(parents=True, exist_ok=True)
    finding = broken.finding
    told = "-".join(re.sub(r"[^A-Za-z0-9]+", "-", each) for each in (finding.kind, finding.who))
    key = name_of("\0".join(finding.key).encode())[:8]
    file = folder / f"{_BROKEN}{told}-{key}{SUFFIX}"
    file.write_bytes(broken.text)
    return file
