"""The rows of virtio-msg in the benchmarks do what they say, once."""

import pytest

from ffabric.lab.bench.virtio import buses, growth, reads

ROWS = [
    row for rows in (reads, buses, growth) for row in rows.BENCHMARKS if "daemon" not in row.name
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_runs(row):
    rig = row.setup()
    try:
        assert rig.run(2) >= 0
    finally:
        rig.close()
