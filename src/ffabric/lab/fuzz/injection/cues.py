"""What an actor of a scenario does: one call, well formed, of what there is to do at that point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.messages import Message, build_message
from ffabric.abi.words import MASK32, PAGE, halves, join, pack_ids
from ffabric.lab.fuzz.actors import ASKED

if TYPE_CHECKING:
    from ffabric.lab.fuzz.actors import Actor

RW, RO = mem.PERM_DATA_RW, mem.PERM_DATA_RO
NX = mem.PERM_INSTRUCTION_NX
KINDS = {
    "share": fid.FFA_MEM_SHARE_64,
    "lend": fid.FFA_MEM_LEND_64,
    "donate": fid.FFA_MEM_DONATE_64,
}
SCATTERED = (3, 1, 6)
"""Pages of a buffer that is in three pieces, not in order."""


class Cue(NamedTuple):
    """A call of ``actor``, and what is in its TX."""

    actor: Actor
    registers: list[int]
    tx: bytes = b""
    tells: bool = False
    """Whether the answer tells a handle, which the scenario wants to know."""


class Sent(NamedTuple):
    """Memory that was given away: how, by whom and to whom."""

    kind: str
    owner: Actor
    to: Sequence[Actor]
    handle: int


def plain(actor: Actor, *registers: int) -> Cue:
    """A call that is all in its registers."""
    return Cue(actor, [*registers])


def wait(actor: Actor) -> Cue:
    """FFA_MSG_WAIT."""
    return plain(actor, fid.FFA_MSG_WAIT)


def yield_(actor: Actor) -> Cue:
    """FFA_YIELD."""
    return plain(actor, fid.FFA_YIELD)


def run(actor: Actor, target: Actor) -> Cue:
    """FFA_RUN of a context of an SP."""
    return plain(actor, fid.FFA_RUN, pack_ids(target.id, target.ctx.index))


def ask(actor: Actor, receiver: Actor, nonce: int) -> Cue:
    """A direct request."""
    ids = pack_ids(actor.id, receiver.id)
    return plain(actor, fid.FFA_MSG_SEND_DIRECT_REQ_64, ids, 0, ASKED | nonce)


def answer(actor: Actor) -> Cue:
    """The response to the request that it serves, whatever that is when its turn comes."""
    return Cue(actor, [])


def turn_on(actor: Actor, other: Actor) -> Cue:
    """PSCI CPU_ON of another vCPU of the VM."""
    pes = actor.system.machine.pes
    return plain(actor, psci.CPU_ON_64, pes[other.ctx.index].mpidr, other.entry)


def map_buffers(actor: Actor) -> Cue:
    """FFA_RXTX_MAP of the last pages of its memory."""
    return Cue(actor, actor.buffers)


def release(actor: Actor) -> Cue:
    """FFA_RX_RELEASE."""
    return plain(actor, fid.FFA_RX_RELEASE)


def send(
    kind: str,
    owner: Actor,
    to: Sequence[Actor],
    pages: Sequence[int] = SCATTERED,
    *,
    flags: int = 0,
    first: int | None = None,
) -> Cue:
    """Give away pages of its memory, by their numbers; ``first``: a first fragment of so many."""
    typed = kind == "share" or (kind == "lend" and len(to) > 1)
    data = abi.build_transaction(
        abi.Transaction(
            sender=owner.id,
            attributes=mem.MEM_ATTR_NORMAL_WB_INNER if typed else 0,
            flags=flags,
            receivers=[abi.Receiver(each.id, 0 if kind == "donate" else RW) for each in to],
            constituents=[(owner.ram.base + n * PAGE, 1) for n in pages],
            total_pages=len(pages),
        ),
        owner.version,
    )
    length = len(data)
    if first is not None:
        length -= 16 * (len(pages) - first)
    return Cue(owner, [KINDS[kind], len(data), length], data[:length], tells=True)


def fragment(owner: Actor, sent: Sent, pages: Sequence[int]) -> Cue:
    """The next fragment of what it gives away."""
    data = abi.build_constituents([(owner.ram.base + n * PAGE, 1) for n in pages])
    return Cue(owner, [fid.FFA_MEM_FRAG_TX, *halves(sent.handle), len(data)], data, tells=True)


def retrieve(actor: Actor, sent: Sent, flags: int = 0) -> Cue:
    """FFA_MEM_RETRIEVE_REQ."""
    alone = sent.kind != "share" and len(sent.to) == 1
    data = abi.build_transaction(
        abi.Transaction(
            sender=sent.owner.id,
            handle=sent.handle,
            flags=flags,
            receivers=[abi.Receiver(each.id, RW | (NX if alone else 0)) for each in sent.to],
        ),
        actor.version,
    )
    return Cue(actor, [fid.FFA_MEM_RETRIEVE_REQ_64, len(data), len(data)], data)


def read_on(actor: Actor, sent: Sent, offset: int) -> Cue:
    """FFA_MEM_FRAG_RX: the rest of a retrieve response."""
    return plain(actor, fid.FFA_MEM_FRAG_RX, *halves(sent.handle), offset)


def relinquish(actor: Actor, sent: Sent, flags: int = 0) -> Cue:
    """FFA_MEM_RELINQUISH."""
    data = abi.build_relinquish(abi.Relinquish(sent.handle, flags, [actor.id]))
    return Cue(actor, [fid.FFA_MEM_RELINQUISH], data)


def reclaim(actor: Actor, sent: Sent, flags: int = 0) -> Cue:
    """FFA_MEM_RECLAIM."""
    return plain(actor, fid.FFA_MEM_RECLAIM, *halves(sent.handle), flags)


def message(actor: Actor, receiver: Actor) -> Cue:
    """FFA_MSG_SEND2."""
    data = build_message(Message(actor.id, receiver.id, b"hello"), actor.version)
    return Cue(actor, [fid.FFA_MSG_SEND2], data)


def bind(receiver: Actor, sender: Actor, bitmap: int) -> Cue:
    """FFA_NOTIFICATION_BIND."""
    return plain(receiver, fid.FFA_NOTIFICATION_BIND, pack_ids(sender.id, receiver.id), 0, bitmap)


def notify(sender: Actor, receiver: Actor, bitmap: int) -> Cue:
    """FFA_NOTIFICATION_SET."""
    return plain(sender, fid.FFA_NOTIFICATION_SET, pack_ids(sender.id, receiver.id), 0, bitmap)


def get(receiver: Actor) -> Cue:
    """FFA_NOTIFICATION_GET of everything."""
    return plain(receiver, fid.FFA_NOTIFICATION_GET, receiver.id, 0xF)


def handle_of(x: list[int]) -> int:
    """The handle in the answer to a call that gave memory away; that of the first fragment, too."""
    low = 1 if x[0] & MASK32 == fid.FFA_MEM_FRAG_RX else 2
    return join(x[low], x[low + 1])
