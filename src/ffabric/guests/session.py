"""A system at hand: boot it, take hold of its partitions, expect refusals.

This is what the ``ffabric`` fixture boots and what a script uses::

    with boot(sps=[Adder()], vms=["client"]) as system:
        system.vm("client").ffa.direct_request(Adder, 2, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from ffabric.firmware.state.rules import RULES
from ffabric.guests.ffa import DrivenFfa, FfaError
from ffabric.system.booting.boot import boot as boot_spec
from ffabric.system.description.python import describe
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import SystemSpec
from ffabric.system.system import Endpoint, System

if TYPE_CHECKING:
    from ffabric.machine.access import GuestAccess
    from ffabric.machine.engines.driven import DrivenRunner
    from ffabric.system.vcpu import Ram


class Handle:
    """A partition as a test holds it. ``ffa`` drives its first vCPU, ``vcpu(n)`` another."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._calls: dict[int, DrivenFfa] = {}

    @property
    def id(self) -> int:
        """The endpoint id."""
        return self.endpoint.id

    @property
    def software(self) -> Any:
        """The Python object that is the partition's software."""
        return self.endpoint.software

    @property
    def memory(self) -> GuestAccess:
        """Loads and stores through the partition's stage-2."""
        return self.endpoint.memory

    @property
    def ram(self) -> Ram:
        """The partition's free pages."""
        return self.endpoint.ram

    @property
    def ffa(self) -> DrivenFfa:
        """The FF-A calls of its first vCPU."""
        return self.vcpu(0)

    def vcpu(self, index: int) -> DrivenFfa:
        """The FF-A calls of vCPU ``index``."""
        calls = self._calls.get(index)
        if calls is None:
            vcpu = self.endpoint.vcpu(self.endpoint.partition.contexts[index])
            calls = self._calls[index] = DrivenFfa(vcpu, lambda: self._take(index))
            calls.endpoint = self.endpoint.id
        return calls

    def _take(self, index: int) -> DrivenRunner:
        return self.endpoint.take(index)


class Session:
    """A booted system with handles on its partitions."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._handles: dict[str, Handle] = {}

    def vm(self, name: str) -> Handle:
        """The VM called ``name``."""
        return self._handle(name, secure=False)

    def sp(self, name: str) -> Handle:
        """The SP called ``name``."""
        return self._handle(name, secure=True)

    def _handle(self, name: str, *, secure: bool) -> Handle:
        endpoint = self.system.endpoints.get(name)
        if endpoint is None or endpoint.spec.secure is not secure:
            kind = "SP" if secure else "VM"
            known = [e.name for e in self.system.endpoints.values() if e.spec.secure is secure]
            raise LookupError(f"there is no {kind} {name!r}{did_you_mean(name, known)}")
        handle = self._handles.get(name)
        if handle is None or handle.endpoint is not endpoint:
            handle = self._handles[name] = Handle(endpoint)
        return handle

    @contextmanager
    def refuses(self, rule_id: str) -> Iterator[None]:
        """The block must make a call that the rule refuses; its FfaError is expected."""
        with refused(lambda: self.system.refusals, rule_id):
            yield

    def run(self) -> None:
        """Let the system run until nothing can run any more."""
        self.system.run()

    def close(self) -> None:
        """Give everything back."""
        self.system.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class NotRefused(AssertionError):  # noqa: N818 - what an assertion says
    """A block that should have been refused by a rule was not."""


@contextmanager
def refused(counts: Callable[[], dict[str, int]], rule_id: str) -> Iterator[None]:
    """Expect that the rule refuses a call in the block, by the growth of ``counts``."""
    if rule_id not in RULES:
        known = [rule.id for rule in RULES]
        raise ValueError(f"there is no rule {rule_id!r}{did_you_mean(rule_id, known)}")
    before = counts()
    error: FfaError | None = None
    try:
        yield
    except FfaError as caught:
        error = caught
    after = counts()
    if after.get(rule_id, 0) > before.get(rule_id, 0):
        return
    others = [each for each in after if after[each] > before.get(each, 0)]
    if others:
        raise NotRefused(f"refused by {', '.join(others)}, not by {rule_id}") from error
    if error is not None:
        raise error
    raise NotRefused(f"{rule_id} refused nothing: the calls succeeded")


def boot(
    spec: SystemSpec | None = None,
    *,
    seed: int | None = None,
    replay: Sequence[int] | None = None,
    initialising: Collection[str] = (),
    **described: Any,
) -> Session:
    """Boot ``spec``, or what ``describe(**described)`` describes, until nothing can run.

    ``initialising``: names of SPs without code of their own that are driven from the start; the
    boot goes on when they make their first FFA_MSG_WAIT.
    """
    system = boot_spec(
        spec if spec is not None else describe(**described), seed=seed, replay=replay
    )
    session = Session(system)
    for name in initialising:
        session.sp(name).endpoint.drive_from_start()
    try:
        system.run()
    except BaseException:
        system.close()
        raise
    return session
