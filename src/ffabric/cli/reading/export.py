"""``ffabric export``: a trace for other people's viewers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Final

from ffabric.cli.errors import UsageError
from ffabric.machine.events import Record
from ffabric.observe.export.pcapng import dissector, write_pcapng
from ffabric.observe.export.perfetto import write_perfetto
from ffabric.observe.lines import NoTrace, read_lines
from ffabric.system.options.problems import did_you_mean

Writer = Callable[[Iterable[Record], IO[bytes]], None]

FORMATS: Final[dict[str, Writer]] = {
    ".pftrace": write_perfetto,
    ".pcapng": write_pcapng,
}
"""Suffix of the file -> what writes it."""
CAPTURE: Final = ".pcapng"


def export(file: Path, output: Path) -> int:
    """Write a trace for Perfetto (run.pftrace) or Wireshark (run.pcapng), by the suffix.

    Perfetto's viewer shows a track for each endpoint, vCPU and PE, flows from requests to their
    answers, and counters of shared pages. Beside a capture for Wireshark is the dissector that it
    needs, run.lua.

    Parameters
    ----------
    file
        What `ffabric run --trace` has written.
    output
        The file to write.
    """
    write = FORMATS.get(output.suffix)
    if write is None:
        known = " or ".join(FORMATS)
        hint = did_you_mean(output.suffix, FORMATS)
        raise UsageError(f"{output}: ends with neither {known}, which say the format{hint}")
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as sink:
            write(read_lines(file), sink)
        part.replace(output)
    except NoTrace as error:
        raise UsageError(str(error)) from None
    finally:
        part.unlink(missing_ok=True)
    print(output)
    if output.suffix == CAPTURE:
        script = output.with_suffix(".lua")
        script.write_text(dissector(), encoding="utf-8")
        print(f"wireshark -X lua_script:{script} {output}")
    return 0
