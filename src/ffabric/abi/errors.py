"""The one exception that parsing untrusted bytes or registers may raise."""

from __future__ import annotations


class DecodeError(ValueError):
    """Bytes from outside do not have the layout of the specification.

    `path` names the field (`transaction.receivers[1].composite_offset`), `offset` is the byte
    offset of that field in the parsed bytes (None if it has none), `value` what stood there
    and `reason` what is wrong with it.
    """

    def __init__(self, path: str, offset: int | None, value: object, reason: str) -> None:
        super().__init__(path, offset, value, reason)
        self.path = path
        self.offset = offset
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        where = "" if self.offset is None else f" (byte {self.offset:#x})"
        value = hex(self.value) if isinstance(self.value, int) else repr(self.value)
        return f"{self.path}{where}: {value}: {self.reason}"
