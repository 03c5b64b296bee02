"""Every historical bug is killed by its scenario, which our firmware passes without it."""

import pytest

from ffabric.lab.faults.catalogue import CLASSES, all_faults
from ffabric.lab.faults.fault import Edit
from ffabric.lab.faults.stage import Stage

FAULTS = [*all_faults().values()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_its_scenario_passes_without_the_bug(fault):
    with Stage() as stage:
        fault.scenario(stage)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_its_scenario_fails_with_the_bug(fault):
    with fault.on(), Stage() as stage, pytest.raises(Exception):  # noqa: B017, PT011 - whatever
        fault.scenario(stage)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_our_firmware_is_as_it_was_when_the_bug_is_switched_off(fault):
    before = [each.target().__code__ for each in fault.changes if isinstance(each, Edit)]
    with fault.on():
        pass
    assert [each.target().__code__ for each in fault.changes if isinstance(each, Edit)] == before


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_says_in_a_line_what_goes_wrong_and_where_that_was_found(fault):
    assert fault.title.endswith(".")
    assert len(fault.title) <= 97
    assert fault.source
    assert fault.class_ in CLASSES
