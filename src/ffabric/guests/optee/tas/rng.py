"""Random numbers of OP-TEE: a generator whose seed is the whole of its randomness.

A run that is played again gets the same numbers, as it gets everything else. Who wants others
gives another seed, such as ``os.urandom(32)``.
"""

from __future__ import annotations

import hashlib
import hmac


class Generator:
    """HMAC_DRBG with SHA-256 (NIST SP 800-90A revision 1, section 10.1.2), without reseeding."""

    def __init__(self, seed: bytes) -> None:
        self._key = bytes(32)
        self._value = b"\x01" * 32
        self._update(seed)

    def random(self, size: int) -> bytes:
        """So many bytes."""
        made = bytearray()
        while len(made) < size:
            self._value = self._digest(self._value)
            made += self._value
        self._update(b"")
        return bytes(made[:size])

    def _update(self, data: bytes) -> None:
        for mark in (b"\0", b"\x01") if data else (b"\0",):
            self._key = self._digest(self._value + mark + data)
            self._value = self._digest(self._value)

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, hashlib.sha256)
