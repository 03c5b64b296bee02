"""Contents that the normal world keeps: encrypted and authenticated with AES-256-GCM.

A key leads to another by HMAC-SHA-256, as in OP-TEE (secure_storage.md): the hardware unique key
(HUK) to the storage's, that to one for each TA. The nonce is made of key and content, so that no
two contents have one, and a run that is played again writes the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from ffabric.abi.optee.tee import Origin, Result
from ffabric.guests.optee.error import TeeError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE: Final = 12
TAG: Final = 16
OVERHEAD: Final = NONCE + TAG
"""Bytes that a sealed content has more than the content."""


def derived(key: bytes, purpose: bytes) -> bytes:
    """The key of 32 bytes that ``key`` has for a purpose."""
    return hmac.digest(key, purpose, hashlib.sha256)


def seal(key: bytes, content: bytes, context: bytes) -> bytes:
    """``content`` as only who has the key, and says the same ``context``, can read it."""
    nonce = hmac.digest(key, len(context).to_bytes(4, "little") + context + content, hashlib.sha256)
    nonce = nonce[:NONCE]
    return nonce + _cipher(key).encrypt(nonce, content, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """The content. Raises TeeError (CORRUPT_OBJECT) for anything that `seal` has not made of it."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415

    if len(sealed) < OVERHEAD:
        raise TeeError(Result.CORRUPT_OBJECT, Origin.TEE)
    try:
        return _cipher(key).decrypt(sealed[:NONCE], sealed[NONCE:], context)
    except InvalidTag:
        raise TeeError(Result.CORRUPT_OBJECT, Origin.TEE) from None


def _cipher(key: bytes) -> AESGCM:
    """AES-GCM, of an extra that not everybody has: without it there is no storage."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    except ImportError:
        raise TeeError(Result.STORAGE_NOT_AVAILABLE, Origin.TEE) from None
    return AESGCM(key)
