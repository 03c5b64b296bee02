"""FFA_NS_RES_INFO_GET: which non-secure memory SPs can reach (DEN0077A 1.3, section 13.13).

The normal world asks, of all SPs or of one. The answer is a stream of bytes, a header and a
descriptor for each range, of which each call brings as much into RX as fits. It is made when the
first part is asked for; whoever changes something in between (buffers of the normal world, memory
transactions) has to begin again.

A range is told three times if need be: of an SP that has it, of each SP that it was sent to, and as
a buffer of the normal world, which the SPMC reaches for all SPs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.flags import NsResFlags
from ffabric.abi.ffa.resources import (
    INDIRECT,
    AccessPermissions,
    AddressMap,
    build_resources,
)
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import V1_3
from ffabric.abi.words import PAGE
from ffabric.firmware.manager.setup import resources
from ffabric.firmware.state.ownership import OWNED, state
from ffabric.firmware.state.rules import refuse, rule
from ffabric.machine.translation.descriptors import S2AP_R, S2AP_W, SW_NS, VALID, XN

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler
    from ffabric.firmware.spmc.spmc import Spmc
    from ffabric.firmware.state.endpoints import Sp
    from ffabric.firmware.state.mailbox import Buffer
    from ffabric.firmware.state.partition import ExecutionContext
    from ffabric.firmware.state.region import Region
    from ffabric.machine.context import PE

ENDPOINT = rule(
    "resources.endpoint",
    Status.INVALID_PARAMETERS,
    resources.SECTION,
    "The endpoint in x1, if the flags say that there is one, is an SP.",
    since=V1_3,
)

_VALID_ENDPOINT = NsResFlags.ENDPOINT_VALID.mask
_ACCESS = (
    (S2AP_R, AccessPermissions.UNPRIVILEGED_R.mask),
    (S2AP_W, AccessPermissions.UNPRIVILEGED_W.mask),
)
_UNPRIVILEGED_X = AccessPermissions.UNPRIVILEGED_X.mask
_PRIVILEGED = 4
"""By how many bits the permissions of privileged software lie higher."""


def info_get(spmc: Spmc, pe: PE, caller: ExecutionContext) -> ExecutionContext:
    """FFA_NS_RES_INFO_GET at the non-secure physical instance."""
    endpoint, flags = resources.read(caller)
    target = _target(spmc, endpoint, flags)
    if not flags & resources.CONTINUE:
        spmc.resources = (_changes(spmc), build_resources([*_maps(spmc, target)]))
    changes, data = spmc.resources
    spmc.resources = ((), b"")
    if not data or changes != _changes(spmc):
        resources.refuse_to_go_on()
    box = resources.free_box(caller)
    spmc.resources = (changes, resources.hand_over(spmc, caller, box, data))
    return caller


def _target(spmc: Spmc, endpoint: int, flags: int) -> Sp | None:
    """The SP that is asked for; None: all."""
    if not flags & _VALID_ENDPOINT:
        return None
    if endpoint not in spmc.partitions:
        refuse(ENDPOINT, got=endpoint, expected="an SP")
    return spmc.partitions[endpoint]


def _changes(spmc: Spmc) -> tuple[object, ...]:
    """What differs when something has changed that an answer tells of."""
    world = spmc.normal_world
    return world.mailbox, *spmc.vm_mailboxes.values(), *spmc.regions.live.values()


def _maps(spmc: Spmc, target: Sp | None) -> Iterator[AddressMap]:
    for sp in [target] if target is not None else spmc.partitions.values():
        yield from _own(sp)
    for vm in spmc.vm_mailboxes.values():
        yield from _buffers(spmc.spm_id, vm.rx, vm.tx)
    world = spmc.normal_world
    if world.mailbox is not None:
        yield from _buffers(world.id, world.mailbox.rx, world.mailbox.tx)
    for region in spmc.regions.live.values():
        if region.owner is world:
            yield from _sent(spmc, region, target)


def _own(sp: Sp) -> Iterator[AddressMap]:
    """Non-secure memory that an SP has by its manifest, or was given for good."""
    stage2 = sp.stage2
    assert stage2 is not None
    for _, pa, pages, attrs in stage2.runs(0, 1 << stage2.ipa_bits - 12):
        if attrs & VALID and attrs & SW_NS and state(attrs) is OWNED:
            yield AddressMap(pa, pages, _access(sp, attrs), sp.id)


def _buffers(endpoint: int, rx: Buffer, tx: Buffer) -> Iterator[AddressMap]:
    """An RX/TX pair of the normal world: the SPMC writes RX and reads TX."""
    both = 1 | 1 << _PRIVILEGED
    for buffer, access in ((rx, both * 0b011), (tx, both * 0b001)):
        for piece in buffer.pieces:
            address = piece.bank.base + piece.offset
            yield AddressMap(address, piece.size // PAGE, access, endpoint, INDIRECT)


def _sent(spmc: Spmc, region: Region, target: Sp | None) -> Iterator[AddressMap]:
    """Memory that the normal world has sent, of each SP that may have it."""
    for borrower in region.borrowers:
        sp = spmc.partitions.get(borrower.endpoint)
        if sp is None or (target is not None and sp is not target):
            continue
        writes = borrower.permissions & mem.PERM_DATA_MASK != mem.PERM_DATA_RO
        access = _access(sp, S2AP_R | XN | (S2AP_W if writes else 0))
        for _, pa, pages, _ in region.runs:
            yield AddressMap(pa, pages, access, sp.id)


def _access(sp: Sp, attrs: int) -> int:
    access = sum(bit for given, bit in _ACCESS if attrs & given)
    if not attrs & XN:
        access |= _UNPRIVILEGED_X
    return access if sp.el == 0 else access | access << _PRIVILEGED


HANDLERS: dict[int, Handler[Spmc]] = {fid.FFA_NS_RES_INFO_GET: info_get}
