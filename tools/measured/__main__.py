"""``make coverage``: run all tests, measure them, compare; ``make coverage RAISE=1``: keep it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from coverage import Coverage

from measured import floors, refusals, rules
from measured.run import CONFIGURATION, ROOT, SOURCES, run_tests

KNOWN = Path(__file__).with_name("floors.toml")
MISSING = ROOT / "build" / "coverage.txt"
"""The lines and branches that are not executed, file by file."""


class Known(msgspec.Struct):
    """What may not fall."""

    rules: rules.Uncovered = rules.Uncovered()
    floors: dict[str, floors.Share] = {}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="measured", description=__doc__)
    parser.add_argument("--raise", action="store_true", dest="keep", help="write floors.toml anew")
    options, tests = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="measured-") as name:
        folder = Path(name)
        status = run_tests(folder, ["-n", "auto", *tests])
        if status:
            return status
        measured = Coverage(config_file=str(folder / CONFIGURATION))
        measured.load()
        measured.json_report(outfile=str(folder / "report.json"))
        MISSING.parent.mkdir(exist_ok=True)
        with MISSING.open("w", encoding="utf-8") as file:
            measured.report(show_missing=True, skip_covered=True, file=file)
        shares = floors.shares((folder / "report.json").read_bytes(), SOURCES)
        found = rules.uncovered(refusals.read(folder), measured.get_data(), SOURCES)
    known = msgspec.toml.decode(KNOWN.read_bytes(), type=Known)
    print("\n".join(floors.table(shares, known.floors)))
    print(f"what is not executed: {MISSING.relative_to(ROOT)}")
    print(f"rules: {len(found.not_refused)} not refused, {len(found.not_passed)} not passed")
    if options.keep:
        KNOWN.write_text(_text(found, shares), "utf-8")
        return 0
    wrong = [*floors.below(shares, known.floors), *rules.differences(found, known.rules)]
    for each in wrong:
        print(each)
    if wrong:
        print(f"compared with {KNOWN.relative_to(ROOT)}; make coverage RAISE=1 writes it anew")
    return 1 if wrong else 0


def _text(found: rules.Uncovered, shares: Mapping[str, floors.Share]) -> str:
    lines = [
        "# What tests execute, and may not fall: make coverage. Percent of lines and of branches.",
        "",
        "[rules]",
        *(f"{what} = {_listed(getattr(found, what))}" for what in ("not_refused", "not_passed")),
        "",
        "[floors]",
    ]
    for name, share in sorted(shares.items()):
        numbers = f"lines = {_floor(share.lines)}, branches = {_floor(share.branches)}"
        lines.append(f"{msgspec.json.encode(name).decode()} = {{ {numbers} }}")
    return "\n".join(lines) + "\n"


def _listed(names: list[str]) -> str:
    if not names:
        return "[]"
    return "[\n" + "".join(f'    "{name}",\n' for name in names) + "]"


def _floor(share: float) -> float:
    return int(share * 10) / 10


if __name__ == "__main__":
    sys.exit(main())
