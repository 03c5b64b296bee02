"""Switching bugs on and off: what is changed, for whom, and what is refused."""

import types

import pytest

from ffabric.lab.faults.catalogue import find
from ffabric.lab.faults.fault import Edit, Entry, FaultError
from ffabric.lab.faults.reached import reached


def double(x):
    """A function to break."""
    return x + x


class Counter:
    def __init__(self):
        self.count = 0

    def up(self):
        if self.count < 2:
            self.count += 1

    @property
    def is_full(self):
        return self.count == 2


TABLE: dict[str, object] = {"double": double}


def test_everybody_who_has_the_function_has_the_bug_until_it_is_off():
    known, table = double, {"double": double}
    off = Edit(double, "x + x", "x + x + 1").made()
    assert (known(1), table["double"](1)) == (3, 3)
    off()
    assert (known(1), table["double"](1)) == (2, 2)


def test_a_method_and_a_property_can_be_edited_over_several_lines():
    counter = Counter()
    off = [
        Edit(Counter.up, "self.count += 1", "self.count += 1\nself.count += 1").made(),
        Edit(Counter.is_full, "== 2", "== 4").made(),
    ]
    counter.up()
    counter.up()
    assert (counter.count, counter.is_full) == (2, False)
    for each in off:
        each()
    assert counter.is_full


def test_text_that_is_not_there_once_is_an_error():
    with pytest.raises(FaultError, match=r"double has 'y' 0 times, not once"):
        Edit(double, "y", "z").made()
    with pytest.raises(FaultError, match="3 times"):
        Edit(double, "x", "z").made()


def test_a_function_that_has_a_bug_gets_no_second_one():
    off = Edit(double, "x + x", "0").made()
    with pytest.raises(FaultError, match="has a fault already"):
        Edit(double, "x + x", "1").made()
    off()
    Edit(double, "x + x", "1").made()()


def test_a_function_inside_another_one_is_refused():
    def outer():
        value = 1

        def inner():
            return value

        return inner

    with pytest.raises(FaultError, match="inside another function"):
        Edit(outer(), "return value", "return 2").made()


def test_a_traceback_through_a_bug_has_the_lines_of_the_file():
    line = double.__code__.co_firstlineno
    off = Edit(double, "x + x", "x + None").made()
    with pytest.raises(TypeError) as caught:
        double(1)
    off()
    assert caught.traceback[-1].lineno + 1 == line + 2


def test_entries_of_tables_and_attributes_come_back():
    owner = types.SimpleNamespace(limit=1)
    off = [Entry(TABLE, "double", None).made(), Entry(owner, "limit", 9).made()]
    assert (TABLE["double"], owner.limit) == (None, 9)
    for each in off:
        each()
    assert (TABLE["double"], owner.limit) == (double, 1)


def test_an_unknown_bug_is_told_with_what_may_be_meant():
    with pytest.raises(LookupError, match="did you mean 'haf_67686054'"):
        find("haf_67686055")


def test_what_tests_execute_is_noted_while_it_is_looked_at(ffabric):
    fault, other = find("optee_os_5803"), find("haf_67686054")
    before = fault.functions[0].__code__
    with reached([fault, other]) as seen:
        system = ffabric.boot(sps=["keeper"], vms=["client"])
        assert not seen
        client = system.vm("client")
        client.ffa.share("keeper", ipa=client.ram.allocate(1))
        assert seen == set(fault.functions)
    assert fault.functions[0].__code__ is before


def test_the_fixture_switches_a_bug_on_for_a_block(ffabric):
    client = ffabric.boot(sps=["keeper", "guest"], vms=["client"]).vm("client")
    ipa = client.ram.allocate(1)
    client.ffa.share("keeper", ipa=ipa)
    with ffabric.fault("optee_os_5803"):
        client.ffa.share("guest", ipa=ipa)
    with ffabric.refuses("mem.share.not_owned"):
        client.ffa.share("guest", ipa=ipa)
