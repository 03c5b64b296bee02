"""What each kind of mapping costs: the counts are exact, and the same in every run."""

import pytest

from ffabric.lab.study.dma import KINDS, Costs, growths, measure, study, verdicts

FREE = Costs(call=0, world_switch=0, page=0, kib=0)


@pytest.mark.parametrize("size", [512, 4096, 65536])
@pytest.mark.parametrize("depth", [1, 32])
def test_a_pool_copies_and_shares_nothing(size, depth):
    row = measure("static", size, depth, Costs())
    assert row.pages == 0
    assert row.copied == size
    assert row.reserved & row.reserved - 1 == 0
    assert 0 < row.untouched < row.reserved


@pytest.mark.parametrize("mapping", KINDS[:2])
@pytest.mark.parametrize(("size", "pages"), [(512, 1), (4096, 1), (65536, 16)])
def test_buffers_that_are_shared_are_not_copied(mapping, size, pages):
    row = measure(mapping, size, 1, Costs())
    assert row.pages == pages
    assert row.copied == 0
    assert (row.reserved == 0) is (mapping == "dynamic")


def test_one_notification_for_many_requests():
    one, many = (measure("static", 512, depth, Costs()) for depth in (1, 32))
    assert one.calls == one.world_switches == 2
    assert many.calls == 2 / 32


def test_the_same_in_every_run():
    rows = [list(study([512], [8], Costs())) for _ in range(2)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("costs", "nanoseconds"),
    [
        ({"call": 10.0}, 20),
        ({"world_switch": 1000.0}, 2000),
        ({"kib": 8.0}, 32),
        ({"page": 1e6}, 0),
        ({}, 0),
    ],
)
def test_time_is_made_of_the_counts_by_the_table(costs, nanoseconds):
    row = measure("static", 4096, 1, Costs(**{**FREE_FIELDS, **costs}))
    assert row.microseconds * 1000 == pytest.approx(nanoseconds)


FREE_FIELDS = dict.fromkeys(Costs.__struct_fields__, 0.0)


def test_which_is_cheaper_is_told_by_the_costs():
    rows = list(study([512, 65536], [1], Costs(call=1, world_switch=1, page=1, kib=1000)))
    (line,) = verdicts(rows)
    assert line.startswith("1 at a time: sharing each buffer is never dearer than the pool")
    (other,) = verdicts(study([512, 65536], [1], Costs(kib=0.0)))
    assert "the pool is cheaper at every size" in other
    (between,) = verdicts(study([512, 65536], [1], Costs(kib=300.0)))
    assert "the pool is cheaper up to 512 bytes" in between


def test_a_picture_has_a_panel_for_each_depth():
    drawn = growths(study([512, 4096], [1, 8], Costs()))
    assert {growth.sweep.what for growth in drawn} == {"a read, 1 at a time", "a read, 8 at a time"}
    assert {growth.sweep.name for growth in drawn} == set(KINDS)
    assert all(len(growth.values) == 2 for growth in drawn)
