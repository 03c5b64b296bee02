"""Messages: what is sent arrives, at whom it is for, as it was sent; answers go back likewise."""

from __future__ import annotations

from functools import partial

from ffabric.abi.ffa import features
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import messages as abi
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_2
from ffabric.abi.words import MASK32, MASK64, PAGE
from ffabric.lab.faults.stage import REQ, REQ2, RESP, RESP2, Side, let_go, message
from ffabric.lab.properties.trial import Trial, clean_after, passes, refused, right
from ffabric.system.description.python import sp, vm

_REQ32, _RESP32 = fid.FFA_MSG_SEND_DIRECT_REQ_32, fid.FFA_MSG_SEND_DIRECT_RESP_32
_ANSWER = {_REQ32: _RESP32, REQ: RESP, REQ2: RESP2}
_KINDS = ("vm-sp", "sp-sp", "vm-vm")
_SEND_ONLY, _BOTH = 2, 3
"""Messaging methods: direct requests are sent, or sent and received."""
_KEEP_RX = 1
"""Flag of FFA_MSG_WAIT: RX stays the caller's."""


def direct(trial: Trial) -> None:
    """A direct request and its response."""
    random = trial.random
    a, b, c = trial.world_of(_KINDS, stop_on_crash=False)
    function = random.choice((_REQ32, REQ, REQ2))
    refused(lambda: _ask(trial, a, b, function), f"{b} does not wait", Status.BUSY, Status.DENIED)
    b.wait()
    if b.id & 0x8000 and a.id & 0x8000:
        run = [fid.FFA_RUN, b.id << 16]
        refused(lambda: a.call(*run), f"{a}, an SP, schedules another", Status.DENIED)
    canaries = trial.words(10)
    payload = _ask(trial, a, b, function, canaries)
    got = b.x[4:18] if function == REQ2 else [each & MASK32 for each in b.x[3:8]]
    wanted = payload if function == REQ2 else [each & MASK32 for each in payload]
    right((b.x[0], b.x[1]) == (function, a.id << 16 | b.id), f"{b} gets {b.x[:2]}")
    right(got == wanted, f"{b} gets {got}, {a} has sent {wanted}")
    wrong = [each for each in (RESP, RESP2) if each != _ANSWER[function]]
    if function == _REQ32:
        wrong = [RESP2]
    if trial.chance(0.5):
        other = random.choice(wrong)
        answer = message(b, a, [1], other)
        refused(lambda: b.call(*answer), "answered with another function")
    if trial.chance(0.5):
        astray = message(b, c, [1], _ANSWER[function])
        refused(lambda: b.call(*astray), f"{b} answers {c}, not {a}")
    if trial.chance(0.3):
        b.leave(fid.FFA_ERROR, 0, Status.INVALID_PARAMETERS.register)
        right(a.x[0] == fid.FFA_ERROR, f"{a} gets {a.x[0]:#x} for an error")
        return
    _respond(trial, a, b, function, canaries)


def _ask(
    trial: Trial, a: Side, b: Side, function: int, canaries: list[int] | None = None
) -> list[int]:
    mask = MASK32 if function == _REQ32 else MASK64
    payload = trial.words(14 if function == REQ2 else 5, mask)
    registers = message(a, b, payload, function)
    if function == REQ2:
        a.call(*registers) if canaries is None else a.leave(*registers)
    elif canaries is None:
        a.call(*registers)
    else:
        a.leave(*registers, *canaries)
    return payload


def _respond(trial: Trial, a: Side, b: Side, function: int, canaries: list[int]) -> None:
    extended = function == REQ2
    payload = trial.words(14 if extended else 5, MASK32 if function == _REQ32 else MASK64)
    rest = [] if extended else trial.words(10)
    b.leave(*message(b, a, payload, _ANSWER[function]), *rest)
    x = a.x
    right((x[0], x[1]) == (_ANSWER[function], b.id << 16 | a.id), f"{a} gets {x[:2]}")
    got = x[4:18] if extended else x[3:8]
    right(got == payload, f"{a} gets {got}, {b} has sent {payload}")
    if not extended:
        right(x[8:18] == canaries, f"x8 to x17 of {a} have changed")


def capabilities(trial: Trial) -> None:
    """Whether an endpoint takes direct requests is told first, whatever else it does."""
    method = trial.random.choice((_SEND_ONLY, _BOTH))
    system = trial.boot(sps=[sp("b", messaging_method=method)], vms=["a"])
    a, b = trial.side(system, "a"), trial.side(system, "b")
    waits = trial.chance(0.5)
    if waits:
        b.wait()
    for function in (_REQ32, REQ):
        call = partial(a.call, *message(a, b, trial.words(5, MASK32), function))
        if method == _SEND_ONLY:
            refused(call, f"{b} takes no requests", Status.DENIED)
        elif not waits:
            refused(call, f"{b} does not wait", Status.BUSY)


def indirect(trial: Trial) -> None:
    """FFA_MSG_SEND2: header and payload, and whose RX it is meanwhile."""
    random = trial.random
    versions = [random.choice(("1.1", "1.2", "1.3")) for _ in range(3)]
    kinds = random.choice(("ssv", "ssv", "vvv", "svv"))
    drafts = [
        (sp if kind == "s" else vm)(name, ffa_version=version, messaging_method=7)
        for kind, name, version in zip(kinds, "abc", versions, strict=True)
    ]
    system = trial.boot(
        sps=[d for d, kind in zip(drafts, kinds, strict=True) if kind == "s"],
        vms=[d for d, kind in zip(drafts, kinds, strict=True) if kind == "v"],
    )
    order = sorted("abc", key=lambda name: kinds["abc".index(name)], reverse=True)
    sides = [trial.side(system, name) for name in order]
    a, b, _ = random.sample(sides, 3)
    secure = bool(a.id & 0x8000), bool(b.id & 0x8000)
    if trial.chance(0.3) and secure != (True, True):
        passes(lambda: b.call(fid.FFA_PARTITION_INFO_GET), f"{b} asks who is there")
        refused(lambda: _send(trial, a, b), f"the RX of {b} is full", Status.BUSY)
        if any(secure):
            return
        b.ffa.rx_release()
    if trial.chance(0.4):
        a.ffa.unmap_buffers()
        passes(lambda: a.ffa.map_buffers(2), f"{a} maps its buffers again")
    _refused_first(trial, a, b)
    _got(a, b, _send(trial, a, b))
    if secure[0]:
        return  # it was stopped for the sake of the scheduler
    if not secure[1]:
        refused(lambda: _send(trial, a, b), f"the RX of {b} is full", Status.BUSY)
        b.ffa.rx_release()
    elif b.version >= V1_2 and trial.chance(0.5):
        b.leave(fid.FFA_MSG_WAIT, 0, _KEEP_RX)
        refused(lambda: _send(trial, a, b), f"the RX of {b} is full", Status.BUSY)
        return
    else:
        b.wait()
    _got(a, b, _send(trial, a, b))


def _send(trial: Trial, a: Side, b: Side) -> bytes:
    """Send random bytes, somewhere behind the header: those."""
    random = trial.random
    size = abi.header_size(a.version)
    payload = random.randbytes(random.choice((0, 1, 7, 64, 1000, PAGE - size - 64)))
    gap = random.choice((0, 0, 4, 16))
    data = bytearray(abi.build_message(abi.Message(a.id, b.id, payload), a.version))
    data[8:12] = (size + gap).to_bytes(4, "little")
    a.put(data[:size] + random.randbytes(gap) + payload)
    let_go(lambda: a.call(fid.FFA_MSG_SEND2))
    return payload


def _got(a: Side, b: Side, payload: bytes) -> None:
    """A message is in RX as it was sent, with the header of its receiver's version."""
    size = abi.header_size(b.version)
    data = b.got(PAGE)
    at = int.from_bytes(data[8:12], "little")
    if a.id & 0x8000 and not b.id & 0x8000:
        size = at  # the SPMC does not know the version of a VM
    right(at == size, f"{b} of version {b.version:#x} gets a payload at {at}, not {size}")
    found = abi.parse_message(data, b.version)
    right(found.sender == a.id, f"{b} has a message of {found.sender:#x}, {a} has sent it")
    right(found.receiver == b.id, f"{b} has a message for {found.receiver:#x}")
    right(found.payload == payload, f"{b} has another message than {a} has sent")
    clean_after(b, size + len(payload))


def _refused_first(trial: Trial, a: Side, b: Side) -> None:
    """Something is wrong with a message."""
    size = abi.header_size(a.version)
    data = bytearray(abi.build_message(abi.Message(a.id, b.id, b"hello"), a.version))
    wrong = trial.random.choice(("offset", "length", "long", "sender", "delay", "nothing"))
    flags = 0
    if wrong == "offset":
        data[8:12] = trial.random.randrange(size).to_bytes(4, "little")
    elif wrong == "length":
        data[16:20] = trial.random.choice((2 * PAGE, MASK32)).to_bytes(4, "little")
    elif wrong == "long":
        payload = bytes(PAGE - abi.header_size(b.version) + 1)
        if len(payload) + size > a.ffa.buffers.pages * PAGE:
            return
        data = bytearray(abi.build_message(abi.Message(a.id, b.id, payload), a.version))
    elif wrong == "sender":
        data[14:16] = (a.id ^ 0x40).to_bytes(2, "little")
    elif wrong == "delay" and not a.id & 0x8000:
        flags = abi.DELAY_SCHEDULE_RECEIVER
    else:
        return
    a.put(data)
    refused(lambda: a.call(fid.FFA_MSG_SEND2, 0, flags), f"a message with a wrong {wrong}")


def buffers(trial: Trial) -> None:
    """FFA_RXTX_MAP and _UNMAP: as large as FFA_FEATURES tells, and the caller's own."""
    random = trial.random
    a, b, _ = trial.world_of(("vm-sp", "sp-sp", "vm-vm"))
    side = random.choice((a, b))
    most = features.RxtxMapProperties(side.call(fid.FFA_FEATURES, fid.FFA_RXTX_MAP_64)[2]).MAX_PAGES
    number = random.randrange(1, 1 << 16)
    if number != side.id:
        refused(lambda: side.call(fid.FFA_RXTX_UNMAP, number << 16), "the buffers of another")
    side.ffa.unmap_buffers()
    pages = random.choice((1, 2, most, most + 1, most + random.randrange(1, 40), 0))
    if 0 < pages <= most:
        passes(lambda: side.ffa.map_buffers(pages), f"{pages} pages of buffers")
        return
    first = side.page(2 * max(pages, 1))
    call = [fid.FFA_RXTX_MAP_64, first, first + PAGE * max(pages, 1), pages]
    refused(lambda: side.call(*call), f"{pages} pages of buffers, there may be {most}")
