"""The lines of a trace: written and read by the declarations of the events."""

import inspect
import json
from contextlib import suppress
from typing import get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from events_at_hand import at
from ffabric.firmware.state import events as firmware
from ffabric.machine import events as machine
from ffabric.machine.context import REGISTERS
from ffabric.observe.lines import KINDS, Choices, NoTrace, Unknown, read, write

WORD = st.integers(0, (1 << 64) - 1)
PLAIN = {
    str: st.text(),
    int: st.integers(0, 1 << 40),
    bool: st.booleans(),
    bytes: st.binary(),
}

NUMBERS = {
    machine.Id: st.integers(0, (1 << 16) - 1),
    machine.Index: st.integers(0, (1 << 16) - 1),
    machine.Count: st.integers(0, (1 << 52) - 1),
    machine.Time: st.integers(0, (1 << 63) - 1),
}


def values(hint):
    """Values of a declared type."""
    if hint in PLAIN:
        return PLAIN[hint]
    if hint == machine.Registers:
        return st.tuples(*[WORD] * REGISTERS)
    if hint == machine.Word:
        return WORD
    if hint in NUMBERS:
        return NUMBERS[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is dict:
        return st.dictionaries(values(inner[0]), values(inner[1]), max_size=3)
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return st.lists(values(inner[0]), max_size=3).map(tuple)
        return st.tuples(*map(values, inner))
    if type(None) in inner:
        return st.none() | values(inner[0])
    return st.sampled_from(inner)


def instances(kind):
    hints = get_type_hints(kind, include_extras=True)
    drawn = {field.name: values(hints[field.name]) for field in fields(kind)}
    if kind.__name__ == "Header":
        drawn["format"] = st.just(2)
    return st.builds(kind, **drawn)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(data=st.data())
def test_what_is_written_is_read_back(kind, data):
    line = data.draw(instances(kind))
    text = write(line)

    assert text.endswith("}\n")
    assert text.count("\n") == 1
    assert read(text) == line
    assert read(text.encode()) == line
    assert json.loads(text)["kind"] == line.kind


def test_every_kind_is_declared_once_and_says_what_it_is():
    assert len({*KINDS.values()}) == len(KINDS)
    for kind in KINDS.values():
        assert inspect.getdoc(kind)
        assert not kind.__subclasses__()


@pytest.mark.parametrize("room", [machine, firmware])
def test_no_kind_is_forgotten(room):
    declared = [
        each
        for _, each in inspect.getmembers(room, inspect.isclass)
        if issubclass(each, machine.Record) and not each.__subclasses__()
    ]

    assert {*declared} <= {*KINDS.values()}


def test_trailing_zeros_of_registers_are_left_out():
    filled = [{}, {0: 7}, {7: 7}, {8: 1}, {17: 1}]
    lines = [at(machine.Return, "vm", [x.get(n, 0) for n in range(REGISTERS)]) for x in filled]
    shown = [json.loads(write(line))["x"] for line in lines]

    assert [len(x) for x in shown] == [1, 1, 8, 9, 18]
    assert shown[4][17] == "0x1"
    assert [*map(read, map(write, lines))] == lines


def test_what_has_its_default_is_left_out_but_for_the_time():
    assert json.loads(write(firmware.Rx("vm", full=False))) == {
        "kind": "rx", "t": 0, "partition": "vm", "full": False,
    }  # fmt: skip


def test_a_kind_of_a_newer_version_is_kept_as_it_is():
    text = '{"kind":"omen","t":3,"pe":0,"sign":{"deep":[1,null,"x"]}}\n'

    assert read(text) == Unknown("omen", {"t": 3, "pe": 0, "sign": {"deep": [1, None, "x"]}})
    assert write(read(text)) == text


def test_a_field_of_a_newer_version_is_passed_over():
    assert read('{"kind":"choices","list":[1],"why":"luck"}') == Choices((1,))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "Expected `object`, got `array`"),
        ("{}", "it has no kind"),
        ('{"kind":7}', "it has no kind"),
        ("junk", "malformed"),
        ('{"kind":"call"}', "missing required field"),
        ('{"kind":"return","pe":0,"endpoint":"a","vcpu":0,"x":["q"]}', "'q' is not a hexadecimal"),
        ('{"kind":"return","pe":0,"endpoint":"a","vcpu":0,"x":[1]}', "1 is not a hexadecimal"),
        ('{"kind":"return","pe":0,"endpoint":"a","vcpu":0,"x":7}', "7 is not a list"),
        ('{"kind":"return","pe":0,"endpoint":"a","vcpu":0,"x":["0x10000000000000000"]}', "64 bits"),
        ('{"kind":"return","pe":0,"endpoint":7,"vcpu":0,"x":["0x1"]}', r"`str`, got `int`"),
        ('{"kind":"slice","t":-1,"pe":0,"endpoint":"a","vcpu":0}', ">= 0"),
        ('{"kind":"slice","t":9223372036854775808,"pe":0,"endpoint":"a","vcpu":0}', "<="),
        ('{"kind":"slice","pe":65536,"endpoint":"a","vcpu":0}', "<="),
        ('{"kind":"slice","pe":0,"endpoint":"a","vcpu":1180591620717411303424}', "t.vcpu|int"),
        ('{"kind":"share","owner":"a","ranges":[["0x1",-1]]}', ">= 0"),
        ('{"kind":"vm_created","pe":0,"partition":"a","endpoint":"0x10000"}', "<="),
        ('{"kind":"share","owner":"a","ranges":[["0x1"]]}', "shorter"),
        ('{"kind":"share","owner":"a","ranges":null}', "not iterable"),
        ('{"kind":"world","pe":0,"to":"third"}', "third"),
        ('{"kind":"header","format":1}', "has format 1, and only 2"),
        ('{"a":' * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_line_says_why(text, why):
    with pytest.raises(NoTrace, match=why):
        read(text)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_junk_is_no_line(junk):
    with pytest.raises(NoTrace):
        read(junk)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@given(data=st.data())
def test_a_damaged_line_is_read_or_refused(kind, data):
    found = json.loads(write(data.draw(instances(kind))))
    name = data.draw(st.sampled_from([*found]))
    found[name] = data.draw(
        st.none() | st.integers() | st.text() | st.lists(st.integers() | st.text() | st.none())
    )
    with suppress(NoTrace):
        read(json.dumps(found))
