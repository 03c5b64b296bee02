"""Whatever goes around while SPs die, begin again and are replaced, the ledger of memory agrees."""

import pytest
from walk_sides import Walk

from ffabric.lab.oracle.ledger import Ledger

STEPS, BETWEEN = 240, 24


@pytest.mark.parametrize("seed", [*range(24), 179])
def test_the_ledger_agrees_all_along(seed):
    walk = Walk(seed, exchanging=True)
    ledger = Ledger(walk.system)
    walk.system.attach(ledger)
    for _ in range(STEPS // BETWEEN):
        for _ in range(BETWEEN):
            walk.step()
        ledger.check()
    walk.session.close()
