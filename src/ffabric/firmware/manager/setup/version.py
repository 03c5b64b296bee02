"""Versions and identities: FFA_VERSION, FFA_ID_GET and FFA_SPM_ID_GET.

The version is negotiated by asking. The manager answers with its own; from then on it serves the
caller at the lower of the two (Hafnium refuses one that is newer than its own). The caller may ask
again, for another version too, until it makes its first other call: that one ends the negotiation
(DEN0077A 1.2, section 13.2.2). Callers of v1.3 may also ask without negotiating.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.flags import VersionQuery
from ffabric.abi.ffa.status import Status
from ffabric.abi.ffa.version import RESERVED_BIT, V1_1, V1_3, major
from ffabric.firmware.state import reply
from ffabric.firmware.state.rules import refuse, rule

if TYPE_CHECKING:
    from ffabric.firmware.manager.manager import Handler, Manager
    from ffabric.firmware.state.partition import ExecutionContext, Next
    from ffabric.machine.context import PE

SECTION = "DEN0077A 1.2, section 13.2"

RESERVED = rule("version.reserved_bit", Status.NOT_SUPPORTED, SECTION, "Bit 31 of w1 is zero.")
MAJOR = rule(
    "version.major",
    Status.NOT_SUPPORTED,
    SECTION,
    "The caller's major version is the callee's: another one is incompatible.",
)
NEWER = rule(
    "version.newer",
    Status.NOT_SUPPORTED,
    SECTION,
    "The caller's minor version is not newer than the callee's.",
    optional=True,
)
LATE = rule(
    "version.late",
    Status.NOT_SUPPORTED,
    SECTION,
    "The negotiated version does not change after another call has been made.",
    waivable=True,
)
NO_SPMC = rule(
    "spm_id.no_spmc",
    Status.NOT_SUPPORTED,
    "DEN0077A 1.2, section 13.11",
    "The system has an SPMC.",
    since=V1_1,
)


QUERY = rule(
    "version.query",
    Status.NOT_SUPPORTED,
    "DEN0077A 1.3, section 13.2",
    "The kind of query in w2 is 0, 1 or 2: to negotiate, to ask, to ask what was negotiated.",
    since=V1_3,
)

_ASK = VersionQuery.QUERY_COMPATIBILITY
_ASK_NEGOTIATED = VersionQuery.QUERY_NEGOTIATED


def version(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_VERSION: answers in w0, a version or NOT_SUPPORTED, never with FFA_ERROR."""
    x = caller.x
    x[0:8] = (_negotiate(pm, caller, x[1], x[2]), 0, 0, 0, 0, 0, 0, 0)
    return caller


def _negotiate(pm: Manager, caller: ExecutionContext, asked: int, query: int) -> int:
    partition = caller.partition
    if min(asked, pm.version) < V1_3:
        query = 0  # what older callers leave in w2 means nothing
    if query > _ASK_NEGOTIATED:
        refuse(QUERY, got=query, expected=[0, 1, 2])
    if query == _ASK_NEGOTIATED:
        return partition.version
    if asked & RESERVED_BIT:
        refuse(RESERVED, got=asked, expected=pm.version)
    if major(asked) != major(pm.version):
        refuse(MAJOR, got=asked, expected=pm.version)
    if asked > pm.version and pm.conventions.wants(NEWER):
        refuse(NEWER, got=asked, expected=pm.version)
    if query == _ASK:
        return pm.version
    agreed = min(asked, pm.version)
    if partition.negotiation.ended and agreed != partition.version:
        pm.conventions.refuse(LATE, got=asked, expected=partition.version)
    partition.allow(partition.calls, agreed)
    return pm.version


def id_get(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_ID_GET."""
    caller.x[0:8] = (fid.FFA_SUCCESS_32, 0, caller.partition.id, 0, 0, 0, 0, 0)
    return caller


def spm_id_get(pm: Manager, pe: PE, caller: ExecutionContext) -> Next:
    """FFA_SPM_ID_GET."""
    if not pm.spm_id:
        refuse(NO_SPMC, got="none", expected="an SPMC")
    reply.success(caller.x, pm.spm_id)
    return caller


HANDLERS: dict[int, Handler[Manager]] = {
    fid.FFA_VERSION: version,
    fid.FFA_ID_GET: id_get,
    fid.FFA_SPM_ID_GET: spm_id_get,
}
