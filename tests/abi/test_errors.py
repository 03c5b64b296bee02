"""The decode error says where, what and why."""

import pytest

from ffabric.abi.errors import DecodeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DecodeError("message.size", 16, 4097, "too long"), "message.size (byte 0x10): 0x1001: "),
        (DecodeError("x2.tag", None, 5, "too long"), "x2.tag: 0x5: "),
        (DecodeError("magic", 0, b"??", "too long"), "magic (byte 0x0): b'??': "),
    ],
)
def test_text(error, text):
    assert str(error) == text + "too long"


def test_is_a_value_error_with_its_parts():
    error = DecodeError("a.b[1]", 8, 3, "odd")
    assert isinstance(error, ValueError)
    assert (error.path, error.offset, error.value, error.reason) == ("a.b[1]", 8, 3, "odd")
