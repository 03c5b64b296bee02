"""The smallest calls that still break: nothing in them can be left out."""

from hypothesis import given
from hypothesis import strategies as st

from ffabric.lab.calls.lines import Call
from ffabric.lab.guided.cases import decode, encode, numbered
from ffabric.lab.guided.shrinking import MOST_PLAYS, shrink

calls = st.lists(
    st.builds(
        Call,
        st.just(0),
        st.sampled_from(["vm1", "vm2"]),
        x=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8),
        write=st.lists(st.tuples(st.integers(0, 2**40), st.binary(max_size=8)), max_size=2),
    ),
    min_size=1,
    max_size=12,
)


@given(calls, st.data())
def test_only_what_is_needed_is_left(case, data):
    needed = data.draw(st.sampled_from(case)).endpoint

    small = shrink(case, lambda each: any(call.endpoint == needed for call in each))
    assert len(small) == 1
    assert small[0].endpoint == needed
    assert small[0].write == []
    assert len(small[0].x or []) == 1


@given(calls)
def test_it_ends_even_if_everything_breaks(case):
    plays = 0

    def breaks(_calls):
        nonlocal plays
        plays += 1
        return True

    assert len(shrink(case, breaks)) <= 1
    assert plays <= MOST_PLAYS


@given(calls)
def test_a_file_has_the_calls_of_its_case(case):
    again, wrong = decode(encode(case))
    assert not wrong
    assert again == numbered(case)
