"""Log lines of the software people run, one module for each who prints them."""

import re
from collections import Counter
from functools import cache

from ffabric.observe.messages import (
    boot,
    hafnium,
    hafnium_borrow,
    hafnium_manifest,
    hafnium_partition,
    hafnium_rare,
    hafnium_send,
    linux,
    linux_virtio,
    optee,
    optee_core,
    tfa,
    tfa_spmc,
    xen,
)
from ffabric.observe.messages.message import Message

MESSAGES: tuple[Message, ...] = (
    *linux.ARM_FFA,
    *linux.OPTEE,
    *linux.TEE,
    *linux_virtio.MESSAGES,
    *optee.CLIENTS,
    *optee.OPTEE,
    *hafnium_send.SEND,
    *hafnium_borrow.BORROW,
    *hafnium.HAFNIUM,
    *hafnium_rare.RARE,
    *hafnium_partition.PARTITION,
    *hafnium_manifest.MANIFEST,
    *tfa.SPMD,
    *tfa_spmc.SPMD,
    *optee.SPMC,
    *optee_core.CORE,
    *optee_core.PARTITIONS,
    *tfa.SPMC,
    *tfa_spmc.SPMC,
    *xen.XEN,
    *boot.U_BOOT,
    *boot.EDK2,
)
"""Every known log line."""

_WORD = re.compile(r"\w+")


@cache
def _by_word() -> tuple[dict[str, list[Message]], list[Message]]:
    """The messages by a word that a line of theirs must have; those that have no such word.

    Of a message's words the one is taken that the fewest others have.
    """
    counts = Counter(word for message in MESSAGES for word in message.words)
    found: dict[str, list[Message]] = {}
    others = []
    for message in MESSAGES:
        if message.words:
            found.setdefault(min(message.words, key=counts.__getitem__), []).append(message)
        else:
            others.append(message)
    return found, others


def find(line: str) -> tuple[Message, dict[str, str]] | None:
    """The message that ``line`` is, and its words by name; None if it is none that is known.

    Of several that fit, the one is meant that has most of its text fixed.
    """
    known, found = _by_word()
    best = None
    for word in dict.fromkeys(_WORD.findall(line)):
        found = found + known[word] if word in known else found
    for message in found:
        if best is None or message.fixed > best[0].fixed:
            words = message.match(line)
            if words is not None:
                best = message, words
    return best
