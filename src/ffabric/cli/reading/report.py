"""``ffabric report``: a trace as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ffabric.cli.errors import UsageError
from ffabric.cli.option import Option
from ffabric.observe.lines import NoTrace
from ffabric.observe.report.data import LIMIT
from ffabric.observe.report.page import write_page


def report(
    file: Path,
    *,
    output: Annotated[Path | None, Option(alias="-o")] = None,
    limit: int = LIMIT,
) -> int:
    """Make one HTML page of a trace, which needs no network and nothing else.

    It has a lane for each context by world and exception level with the calls between them, every
    refusal with its rule, who owned which memory since which event, and totals; it can be zoomed,
    searched and printed.

    Parameters
    ----------
    file
        What `ffabric run --trace` has written.
    output
        The page; by default beside the trace, with .html as its suffix.
    limit
        The most events of the page. Of a longer trace it shows what is rare, and a sample of the
        calls.
    """
    where = file.with_suffix(".html") if output is None else output
    if where == file:
        raise UsageError(f"{file}: the page would overwrite the trace: say --output")
    try:
        write_page(file, where, limit=limit)
    except NoTrace as error:
        raise UsageError(str(error)) from None
    print(where)
    return 0
