"""A system in hand: its partitions, its run, VMs that come and go, the rules that have refused.

This is what the ``ffabric`` fixture boots and what a script uses::

    with boot(sps=[Adder()], vms=["client"]) as system:
        system.vm("client").ffa.direct_request(Adder, 2, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self, Unpack

from ffabric.observe.recorder import Recorder
from ffabric.session.opened import OPEN, opened
from ffabric.session.refusals import Expected
from ffabric.system.description.python import described, sp, vm
from ffabric.system.options.keywords import suggesting
from ffabric.system.options.problems import did_you_mean
from ffabric.system.spec import PartitionDraft

if TYPE_CHECKING:
    from ffabric.session.handle import Handle
    from ffabric.session.history import History
    from ffabric.system import system as booted
    from ffabric.system.crash import PartitionCrashed
    from ffabric.system.description.fields import SystemFields
    from ffabric.system.endpoint import Endpoint
    from ffabric.system.spec import SystemSpec
    from ffabric.system.vcpu import Software
    from ffabric.system.vmm import Vmm


class System:
    """A booted system. A ``with`` block closes it at the end."""

    def __init__(self, system: Any) -> None:
        self.system: Any = system
        """What is inside, machine and firmware: private, and may change."""
        self.recorder: Any = Recorder(system)
        """What is kept of its last calls and refusals: private, and may change."""
        self._handles: dict[str, Handle] = {}
        opened(self)

    @classmethod
    def with_history(
        cls,
        spec: SystemSpec | None = None,
        *,
        seed: int | None = None,
        replay: Sequence[int] | None = None,
        **fields: Unpack[SystemFields],
    ) -> History[Self]:
        """Describe a system as for `boot`, for a run that can go forward and back.

        Nothing has run yet. Raises SystemErrors with everything that is wrong with the description.
        """
        from ffabric.session.history import History  # noqa: PLC0415 - only who goes back

        return History(cls, described(spec, fields), seed=seed, replay=replay)

    @property
    def _inside(self) -> booted.System:
        system: booted.System = self.system
        return system

    def vm(self, name: str) -> Handle:
        """The VM called ``name``. Raises LookupError if there is none."""
        return self._handle(name, secure=False)

    def sp(self, name: str) -> Handle:
        """The SP called ``name``. Raises LookupError if there is none."""
        return self._handle(name, secure=True)

    def _handle(self, name: str, *, secure: bool) -> Handle:
        endpoint = self._inside.endpoints.get(name)
        if endpoint is None or endpoint.spec.secure is not secure:
            kind = "SP" if secure else "VM"
            known = [e.name for e in self._inside.endpoints.values() if e.spec.secure is secure]
            raise LookupError(f"there is no {kind} {name!r}{did_you_mean(name, known)}")
        handle = self._handles.get(name)
        if handle is None or handle.endpoint is not endpoint:
            handle = self._handles[name] = _in_hand(endpoint)
        return handle

    def run(self) -> None:
        """Let the system run until nothing can run any more.

        Raises `PartitionCrashed` if a partition crashes and the system is to stop then.
        """
        self._inside.run()

    def stop(self) -> None:
        """End the run after the present exit; for callbacks and for a partition's code."""
        self._inside.machine.stop()

    def interrupt(self, intid: int, pe: int | None = None) -> None:
        """Let a device raise the interrupt ``intid`` once; a private one belongs to a PE.

        Which partition gets it, and when, is decided as the system runs.
        """
        self._inside.machine.gic.set_pending(intid, pe)

    def vmm(self, vm: str, on_event: Callable[[Vmm, int], None] | None = None) -> Vmm:
        """The VMM of a VM in user space of the host, which raises its interrupts from now on.

        ``on_event`` is called with it and the number of a vCPU as soon as that vCPU's eventfd is
        signalled. Raises LookupError if there is no such VM, or no hypervisor.
        """
        from ffabric.system.vmm import Vmm  # noqa: PLC0415 - few need it

        return Vmm(self._inside, self.vm(vm).name, on_event)

    @suggesting
    def create_vm(
        self,
        what: PartitionDraft | Software | type[Software] | str,
        *,
        pe: int | None = None,
        host: str | None = None,
        ipa: int | None = None,
    ) -> Handle:
        """Create a VM while the system runs: what `vm` returns, or the arguments of `vm`.

        Its memory comes from the hypervisor's free frames, and no VM has had its id before. The
        hypervisor does the rest on the PE ``pe``, or on whichever PE is in the normal world first:
        it tells the SPs that subscribed, then it starts the VM.

        With a ``host`` it is a protected VM: the host donates the memory, from its ``ipa`` on or
        wherever its software has free pages, and cannot reach it while the VM exists. Afterwards
        the host gets it back, cleared.

        Raises SystemErrors for what is wrong with the description, NoFrames or NoPages if there is
        not enough memory.
        """
        draft = what if isinstance(what, PartitionDraft) else vm(what)
        return _in_hand(self._inside.create_vm(draft, pe=pe, host=host, ipa=ipa))

    @suggesting
    def destroy_vm(self, name: str, *, pe: int | None = None, reason: str = "destroyed") -> None:
        """Destroy a VM, whatever its vCPUs are doing: none of them runs again.

        The hypervisor does the rest on the PE ``pe``, or on whichever PE is in the normal world
        first: it finishes what the VM asked of SPs and drops the answers, tells the SPs that
        subscribed, and takes the memory back, some of it only when SPs relinquish it. May be called
        at any time, also from a callback of the clock. Raises LookupError if there is no such VM.
        """
        self._inside.destroy_vm(name, pe=pe, reason=reason)

    @suggesting
    def stage(self, name: str, what: PartitionDraft | Software | type[Software]) -> None:
        """Provide new software for an SP, which software of the normal world can then activate.

        ``what`` is the new Python code, or what `sp` returns for an ``image``. The SP's manifest
        does not change, and must have ``live_activation_support``. A VM or kernel activates the
        software with ``ffa.activate(UUID)``, the UUID of the SP's image. Raises LookupError if
        there is no such SP, ValueError if it cannot get this software.
        """
        from ffabric.system.booting.activation import stage  # noqa: PLC0415 - few need it

        draft = what if isinstance(what, PartitionDraft) else sp(what)
        stage(self._inside, self.sp(name).name, draft.source)

    def refuses(self, rule_id: str) -> AbstractContextManager[None]:
        """Expect that a call in the block is refused by a rule; its FfaError is caught."""
        return Expected(lambda: self._inside.refusals, rule_id)

    @property
    def refusals(self) -> dict[str, int]:
        """How often each rule has refused a call, by the rule's id."""
        return self._inside.refusals

    @property
    def waived(self) -> dict[str, int]:
        """How many calls each rule would have refused if it were not waived, by rule id."""
        return self._inside.waived

    def last_calls(self, most: int = 20) -> str:
        """The last calls, with their answers and refusals, decoded: one call a line."""
        calls: str = self.recorder.last_calls(most)
        return calls

    @property
    def crashes(self) -> tuple[PartitionCrashed, ...]:
        """Every partition that has crashed, in the order in which they did."""
        return tuple(self._inside.deaths)

    @property
    def stop_reason(self) -> str:
        """Why the run was stopped, if a console or a watchdog stopped it; else ""."""
        return self._inside.stop_reason

    @property
    def exits(self) -> int:
        """How many exits partitions have made: calls, aborts, waits."""
        return self._inside.machine.exits

    @property
    def world_switches(self) -> int:
        """How often the monitor has switched between the worlds."""
        return self._inside.firmware.monitor.world_switches

    @property
    def choices(self) -> list[int]:
        """The choices of the run so far. Given as ``replay``, they repeat the run."""
        return list(self._inside.machine.choices.log)

    def close(self) -> None:
        """Release all resources; the system cannot be used any more."""
        OPEN.discard(self)
        self._inside.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = " ".join(f"{e.name}={e.id:#06x}" for e in self._inside.endpoints.values())
        closed = " closed" if self._inside.closed else ""
        return f"<System {self._inside.spec.name}{closed}: {names}>"


def _in_hand(endpoint: Endpoint) -> Handle:
    from ffabric.session.handle import Handle  # noqa: PLC0415 - only who drives a partition

    return Handle(endpoint)


def refuses(rule_id: str, *systems: System) -> AbstractContextManager[None]:
    """Expect that a call in the block is refused by a rule; its FfaError is caught.

    The call may be made in any of ``systems``; without any, in every system that is open. Raises
    ValueError for an unknown rule, `NotRefused` if another rule refuses or none does.
    """

    def counts() -> dict[str, int]:
        total: dict[str, int] = {}
        for system in systems or tuple(OPEN):
            for rule, count in system.refusals.items():
                total[rule] = total.get(rule, 0) + count
        return total

    return Expected(counts, rule_id)


refuses.__module__ = "ffabric"
