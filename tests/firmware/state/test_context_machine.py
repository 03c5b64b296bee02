"""Whatever endpoints do on several PEs, their contexts do what the table says, and all of it.

Every verb compares what it does with its row, and after every exit it is judged what always holds
(`conftest.py`). The walks here have to see every move of the table.
"""

import pytest
from walk_sides import Walk

from ffabric.firmware.state.checking import Move, checked
from ffabric.firmware.state.context import TABLE

WALKS, STEPS = 240, 150


@pytest.fixture(scope="module")
def seen():
    """What all walks have done."""
    moves = set()
    with checked(moves):
        for seed in range(WALKS):
            walk = Walk(seed)
            if not seed % 6:
                walk.leave_a_chain()
            for _ in range(STEPS):
                walk.step()
            walk.session.close()
    return moves


def test_the_walks_see_every_move_of_the_table(seen):
    moves = {
        Move(verb.name, before, after)
        for verb in TABLE.verbs.values()
        for part in (verb.own, verb.other)
        if part is not None
        for before, after in part.moves.items()
    }
    assert moves - seen == set()
