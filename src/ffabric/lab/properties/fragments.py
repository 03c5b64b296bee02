"""Fragments: a descriptor in pieces says what it says in one, on its way there and back."""

from __future__ import annotations

from functools import partial

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.words import MASK32, PAGE, halves
from ffabric.lab.faults.stage import RW, SHARE, Side
from ffabric.lab.properties.trial import Trial, passes, refused, right

_RANGE = 16
"""Bytes of an address range."""
_MOST = 330
"""Ranges: more than a page holds."""


def fragments(trial: Trial) -> None:
    """A memory region of many ranges: sent in fragments of any length, and retrieved so."""
    random = trial.random
    a, b, _ = trial.world_of(("vm-sp", "sp-sp", "vm-vm", "kernel-sp"))
    count = random.choice((2, 3, 8, 100, 255, _MOST))
    first = a.page(2 * count)
    ranges = [(first + 2 * at * PAGE, 1) for at in range(count)]
    handle = _send(trial, a, b, ranges)
    found = _retrieve(trial, a, b, handle)
    right(len(found) == count, f"{b} gets {len(found)} ranges, {count} were sent")
    passes(lambda: b.relinquish(handle), "relinquishing")
    passes(lambda: a.reclaim(handle), "reclaiming")


def _send(trial: Trial, a: Side, b: Side, ranges: list[tuple[int, int]]) -> int:
    random = trial.random
    data = a.transaction(SHARE, [b], ranges)
    head = len(data) - _RANGE * len(ranges)
    most = (min(len(data), PAGE) - head) // _RANGE
    sent = head + _RANGE * random.randrange(most + 1)
    a.put(data[:sent])
    x = passes(lambda: a.call(SHARE, len(data), sent), f"the first {sent} bytes")
    while x is not None and x[0] & MASK32 == fid.FFA_MEM_FRAG_RX:
        handle = x[1] & MASK32 | (x[2] & MASK32) << 32
        right(x[3] & MASK32 == sent, f"{x[3]:#x} bytes have come, {sent:#x} were sent")
        left = len(data) - sent
        if trial.chance(0.3) and left < PAGE - _RANGE:
            more = left + _RANGE * random.randrange(1, 3)
            a.put(data[sent:] + bytes(more - left))
            call = partial(a.call, fid.FFA_MEM_FRAG_TX, *halves(handle), more)
            refused(call, "a fragment that is too long")
            return _send(trial, a, b, ranges)
        length = min(left, PAGE, _RANGE * random.randrange(1, 300))
        a.put(data[sent : sent + length])
        call = partial(a.call, fid.FFA_MEM_FRAG_TX, *halves(handle), length)
        x = passes(call, f"{length} bytes more")
        sent += length
    assert x is not None
    return x[2] & MASK32 | (x[3] & MASK32) << 32


def _retrieve(trial: Trial, a: Side, b: Side, handle: int) -> list[tuple[int, int]]:
    random = trial.random
    request = abi.Transaction(sender=a.id, handle=handle, receivers=[abi.Receiver(b.id, RW)])
    data = abi.build_transaction(request, b.version)
    b.put(data)
    x = passes(
        lambda: b.call(fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data)), "a retrieve request"
    )
    assert x is not None
    total, length = x[1] & MASK32, x[2] & MASK32
    got = b.got(length)
    while len(got) < total:
        b.ffa.rx_release()
        if trial.chance(0.5):
            wrong = random.choice([0, len(got) + 16, len(got) - 16, total])
            asked = partial(b.call, fid.FFA_MEM_FRAG_RX, *halves(handle), wrong)
            refused(asked, f"from byte {wrong} on, not {len(got)}")
        at = len(got)
        x = passes(partial(b.call, fid.FFA_MEM_FRAG_RX, *halves(handle), at), f"from byte {at} on")
        assert x is not None
        got += b.got(x[3] & MASK32)
    b.ffa.rx_release()
    return [*abi.parse_transaction(got, b.version).constituents]
