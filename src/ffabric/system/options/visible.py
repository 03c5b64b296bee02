"""What somebody else has written, as it may be printed: it does nothing to a terminal."""

from __future__ import annotations


def visible(text: str) -> str:
    """``text`` in a line: what is no printable character is shown as its escape.

    These are control characters, ends of lines, and those that turn the direction of what follows.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(ord(each)) for each in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
