"""Version numbers and status codes."""

import pytest

from ffabric.abi.ffa import version as v
from ffabric.abi.ffa.status import Status, from_register


@pytest.mark.parametrize(("text", "number"), [("1.0", v.V1_0), ("v1.2", v.V1_2), (" 1.3 ", v.V1_3)])
def test_parse(text, number):
    assert v.parse(text) == number
    assert v.format_version(number) == text.strip().removeprefix("v")


@pytest.mark.parametrize("text", ["", "1", "1.2.3", "a.b", "-1.0", "32768.0", "1.65536", "1.٣"])
def test_parse_refuses(text):
    with pytest.raises(ValueError, match="FF-A version"):
        v.parse(text)


def test_parts():
    assert (v.major(0x7FFF_0005), v.minor(0x7FFF_0005)) == (0x7FFF, 5)
    assert v.make(1, 1) == v.V1_1
    assert v.VERSIONS[-1] == v.LATEST


@pytest.mark.parametrize(
    ("caller", "callee", "fits"),
    [
        (v.V1_0, v.V1_3, True),
        (v.V1_3, v.V1_3, True),
        (v.V1_3, v.V1_2, False),
        (0x20000, v.V1_2, False),
    ],
)
def test_compatibility(caller, callee, fits):
    assert v.compatible(caller, callee) is fits


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("upper", [0, 0xFFFF_FFFF, 0xDEAD_BEEF])
def test_a_status_survives_its_register_whatever_the_upper_half_holds(status, upper):
    assert from_register(status.register | upper << 32) is status


def test_unassigned_status():
    assert from_register(5) is None
    assert from_register(-11) is None
