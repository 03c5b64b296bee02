"""What others have written does nothing to a terminal."""

import pytest

from ffabric.system.options.visible import visible


@pytest.mark.parametrize("text", ["", "FFA_ID_GET: id=0x8001", "sümmé", "µs → 12"])
def test_what_can_be_printed_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("bell\x07\x7f\x9b", "bell\\x07\\x7f\\x9b"),
        ("two\r\nlines\u2028", "two\\x0d\\x0alines\\u2028"),
        ("abc\u202ecba\u2066", "abc\\u202ecba\\u2066"),
        ("\udc80", "\\udc80"),
    ],
)
def test_what_drives_a_terminal_is_shown(text, shown):
    assert visible(text) == shown
