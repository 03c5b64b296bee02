"""Packets of gdb's remote serial protocol (GDB manual, appendix E): ``$data#checksum``.

A peer may send anything: what is no packet is dropped, what has a wrong checksum is asked for again
(``-``), and one that is too long ends the connection.
"""

from __future__ import annotations

INTERRUPT = b"\x03"
MOST = 1 << 16
"""Bytes of a packet."""
_ESCAPE, _XOR = 0x7D, 0x20


class TooLong(Exception):  # noqa: N818 - an answer
    """A peer sends a packet that nobody would."""


def checksum(data: bytes | bytearray) -> bytes:
    """The two digits that end a packet with ``data``."""
    return b"%02x" % (sum(data) & 0xFF)


def packed(data: bytes) -> bytes:
    """``data`` as a packet."""
    escaped = bytearray()
    for byte in data:
        if byte in b"$#}*":
            escaped += bytes((_ESCAPE, byte ^ _XOR))
        else:
            escaped.append(byte)
    return b"$" + escaped + b"#" + checksum(escaped)


class Stream:
    """The bytes of a peer, taken apart."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.acknowledges = True
        """Each packet is acknowledged; until both have agreed not to."""

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The packets, and interrupts, that ``data`` completes; what is to be answered at once.

        Raises TooLong.
        """
        self._kept += data
        found: list[bytes] = []
        answer = b""
        while self._kept:
            if self._kept[:1] == INTERRUPT:
                del self._kept[:1]
                found.append(INTERRUPT)
            elif self._kept[:1] != b"$":
                del self._kept[:1]  # an acknowledgement, or noise
            else:
                end = self._kept.find(b"#")
                if end < 0 or len(self._kept) < end + 3:
                    if len(self._kept) > MOST:
                        raise TooLong
                    break
                body, given = bytes(self._kept[1:end]), bytes(self._kept[end + 1 : end + 3])
                del self._kept[: end + 3]
                right = given.lower() == checksum(body)
                if self.acknowledges:
                    answer += b"+" if right else b"-"
                if right:
                    found.append(_unescaped(body))
        return found, answer


def _unescaped(body: bytes) -> bytes:
    if _ESCAPE not in body:
        return body
    plain = bytearray()
    escaped = False
    for byte in body:
        if escaped:
            plain.append(byte ^ _XOR)
            escaped = False
        elif byte == _ESCAPE:
            escaped = True
        else:
            plain.append(byte)
    return bytes(plain)
