"""How many bytes of memory a process grows by when it boots a system: ENGINE PARTITIONS.

A process of its own for each measurement: what was measured before leaves free memory behind that
the next system would not have to ask for.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from resource import getpagesize

from ffabric.lab.bench.rigs import many
from ffabric.system.booting.boot import boot


def main(engine: str, partitions: int) -> None:
    """Boot the only system of this process, and print what came with it."""
    gc.collect()
    before = _resident()
    with boot(many(engine, partitions)) as system:
        system.run()
        gc.collect()
        print(json.dumps(_resident() - before))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
