"""The twin of xtest's TA "crypt": case 1004."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from ffabric.abi.optee.message import Type
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.tas.ta import Params, TaSession, TrustedApp

_KEY: Final = bytes(range(32))
"""What the TA encrypts with."""
_BLOCK: Final = 16


class Command(IntEnum):
    """memref[0] is read, memref[1] gets the result (optee_test 4.10, ta_crypt.h)."""

    SHA256 = 2
    AES256ECB_ENC = 3
    AES256ECB_DEC = 4


class Crypt(TrustedApp):
    """Digests, and encrypts with a key of its own."""

    uuid = "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b"

    async def invoke(self, session: TaSession, command: int, params: Params) -> None:
        """Do one of `Command`."""
        work = _WORK.get(command)
        if work is None:
            raise TeeError(Result.NOT_IMPLEMENTED)
        params.expect(Type.FMEM_INPUT, Type.FMEM_OUTPUT)
        params.memref(1).write(work(params.memref(0).read()))


def _encrypted(data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.modes import ECB  # noqa: PLC0415

    return Cipher(AES(_KEY), ECB()).encryptor().update(_whole(data))  # noqa: S305 - the case's


def _decrypted(data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.modes import ECB  # noqa: PLC0415

    return Cipher(AES(_KEY), ECB()).decryptor().update(_whole(data))  # noqa: S305 - the case's


def _whole(data: bytes) -> bytes:
    if len(data) % _BLOCK:
        raise TeeError(Result.BAD_PARAMETERS)
    return data


_WORK: Final[dict[int, Callable[[bytes], bytes]]] = {
    Command.SHA256: lambda data: hashlib.sha256(data).digest(),
    Command.AES256ECB_ENC: _encrypted,
    Command.AES256ECB_DEC: _decrypted,
}
