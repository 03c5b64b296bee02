"""Power management messages: SPs that subscribed hear what becomes of a PE, and others do not."""

from typing import Any

import pytest

from ffabric import Partition, System, boot, sp, vm
from ffabric.abi import psci
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.framework import PowerMessages
from ffabric.abi.ffa.status import Status
from ffabric.abi.psci import Return
from ffabric.firmware.state.endpoints import AbortAction
from ffabric.machine.gic import GROUP1NS
from ffabric.testing import Blocked

PES = 2
ALL = int(
    PowerMessages.CPU_OFF
    | PowerMessages.CPU_SUSPEND
    | PowerMessages.CPU_SUSPEND_RESUME
    | PowerMessages.CPU_ON
)
INTID = 40
MPIDR = 0x100

Heard = list[tuple[str, str, int]]


class Listener(Partition):
    """An SP that notes what it is told of which PE, and what it answers is given."""

    def __init__(self, name: str, heard: Heard, answer: Return | None = None) -> None:
        super().__init__()
        self.name, self.heard, self.answer = name, heard, answer

    async def on_boot(self, ffa: Any) -> None:
        if not ffa.vcpu.index and ffa.vcpu.count > 1:
            await ffa.secondary_register(ffa.vcpu.entry)

    async def on_power_message(self, function: int, ffa: Any) -> Return | None:
        self.heard.append((self.name, psci.FUNCTIONS[function].name, ffa.vcpu.pe))
        return self.answer

    async def on_direct_request(self, request: Any, ffa: Any) -> Any:
        await ffa.yield_()
        return request.respond()

    async def on_warm_boot(self, ffa: Any) -> Return | None:
        self.heard.append((self.name, "WARM_BOOT", ffa.vcpu.pe))
        return None


class Rig:
    """A kernel below EL3, and SPs with these subscriptions, in this order."""

    def __init__(
        self, *subscriptions: int, listener: type[Listener] = Listener, **answers: Return
    ) -> None:
        self.heard: Heard = []
        sps = [
            sp(
                listener(f"sp{number}", self.heard, answers.get(f"sp{number}")),
                name=f"sp{number}",
                vcpus=PES,
                boot_order=number,
                power_management_messages=wanted,
            )
            for number, wanted in enumerate(subscriptions)
        ]
        self.system: System = boot(
            pes=PES,
            sps=sps,
            vms=[vm("kernel", vcpus=PES)],
            hypervisor=False,
            stop_on_crash=False,
        )
        self.machine = self.system.system.machine
        self.kernel = self.system.vm("kernel")
        self.entry = self.kernel._inside.spec.entry

    def call(self, function: int, *arguments: int, pe: int = 0) -> int:
        return self.kernel.vcpu(pe).call(function, *arguments)[0]

    def sp_id(self, number: int) -> int:
        return self.system.sp(f"sp{number}").id

    def turn_on(self) -> int:
        return self.call(psci.CPU_ON_64, MPIDR, self.entry)

    def turn_off(self) -> int | None:
        """CPU_OFF on PE 1: its answer, None if there is none."""
        try:
            return self.call(psci.CPU_OFF, pe=1)
        except Blocked:
            return None

    def suspend(self, *, wake: bool) -> None:
        """CPU_SUSPEND of PE 0, with an interrupt pending already, or later."""
        gic = self.machine.gic
        gic.configure(INTID, group=GROUP1NS, enabled=True, target=0)
        gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
        if wake:
            gic.set_pending(INTID)
            assert self.call(psci.CPU_SUSPEND_64, 0) == 0
            return
        with pytest.raises(Blocked):
            self.call(psci.CPU_SUSPEND_64, 0)


def test_whoever_subscribed_hears_of_cpu_on_on_that_pe() -> None:
    rig = Rig(ALL, 0, int(PowerMessages.CPU_ON), int(PowerMessages.CPU_OFF))
    assert rig.heard == []
    assert rig.turn_on() == 0
    rig.system.run()
    assert rig.heard == [("sp0", "CPU_ON_64", 1), ("sp2", "CPU_ON_64", 1)]
    assert rig.machine.pes[1].on
    assert rig.call(psci.AFFINITY_INFO_64, MPIDR) == psci.AffinityState.ON


def test_the_others_are_told_before_a_pe_goes_off() -> None:
    rig = Rig(0, int(PowerMessages.CPU_OFF), int(PowerMessages.CPU_ON), ALL)
    rig.turn_on()
    rig.system.run()
    rig.heard.clear()
    assert rig.turn_off() is None
    assert rig.heard == [("sp1", "CPU_OFF", 1), ("sp3", "CPU_OFF", 1)]
    assert not rig.machine.pes[1].on
    rig.heard.clear()
    assert rig.turn_on() == 0
    rig.system.run()
    assert rig.heard == [("sp2", "CPU_ON_64", 1), ("sp3", "CPU_ON_64", 1)]


def test_one_that_is_busy_on_that_pe_is_not_told() -> None:
    rig = Rig(ALL, ALL)
    rig.turn_on()
    rig.system.run()
    kernel = rig.kernel.vcpu(1)
    assert kernel.call(fid.FFA_MSG_SEND_DIRECT_REQ_32, rig.sp_id(0))[0] == fid.FFA_YIELD
    rig.heard.clear()
    assert rig.turn_off() is None
    assert rig.heard == [("sp1", "CPU_OFF", 1)]


@pytest.mark.parametrize("subscription", [0, int(PowerMessages.CPU_ON)])
def test_without_subscribers_a_pe_goes_off_at_once(subscription: int) -> None:
    rig = Rig(subscription)
    rig.turn_on()
    rig.system.run()
    switches = rig.system.system.firmware.monitor.world_switches
    assert rig.turn_off() is None
    assert rig.system.system.firmware.monitor.world_switches == switches
    assert not rig.machine.pes[1].on


def test_an_sp_that_denies_it_keeps_the_pe_on() -> None:
    rig = Rig(ALL, ALL, ALL, sp1=Return.DENIED)
    rig.turn_on()
    rig.system.run()
    rig.heard.clear()
    assert rig.turn_off() == Return.DENIED.register64
    assert rig.heard == [("sp0", "CPU_OFF", 1), ("sp1", "CPU_OFF", 1)]
    assert rig.machine.pes[1].on
    assert rig.call(psci.PSCI_VERSION, pe=1) == psci.VERSION_1_1


@pytest.mark.parametrize("answer", [each for each in Return if each is not Return.SUCCESS])
def test_any_error_keeps_the_pe_on(answer: Return) -> None:
    rig = Rig(ALL, ALL, sp0=answer)
    rig.turn_on()
    rig.system.run()
    rig.heard.clear()
    assert rig.turn_off() == Return.DENIED.register64
    assert rig.heard == [("sp0", "CPU_OFF", 1)]
    assert rig.machine.pes[1].on


def test_an_sp_that_denies_a_suspension_keeps_the_pe_going() -> None:
    rig = Rig(ALL, ALL, sp0=Return.DENIED)
    assert rig.call(psci.CPU_SUSPEND_64, 0) == Return.DENIED.register64
    assert rig.heard == [("sp0", "CPU_SUSPEND_64", 0)]
    assert rig.call(psci.PSCI_VERSION) == psci.VERSION_1_1


def test_nobody_can_deny_what_has_happened() -> None:
    class Denies(Listener):
        async def on_power_message(self, function: int, ffa: Any) -> Return | None:
            await super().on_power_message(function, ffa)
            return None if function == psci.CPU_SUSPEND_64 else Return.DENIED

        async def on_warm_boot(self, ffa: Any) -> Return:
            await super().on_warm_boot(ffa)
            return Return.DENIED

    rig = Rig(ALL, ALL, listener=Denies)
    assert rig.turn_on() == 0
    rig.system.run()
    assert rig.heard == [("sp0", "CPU_ON_64", 1), ("sp1", "CPU_ON_64", 1)]
    assert rig.machine.pes[1].on
    rig.heard.clear()
    rig.suspend(wake=True)
    assert [what for _, what, _ in rig.heard] == ["CPU_SUSPEND_64"] * 2 + ["WARM_BOOT"] * 2


def test_a_message_has_the_arguments_that_its_function_has() -> None:
    told = []

    class Notes(Listener):
        async def _on_framework_message(self, request: Any, x: list[int], ffa: Any) -> list[int]:
            told.append((x[0], *x[2:8]))
            return await super()._on_framework_message(request, x, ffa)

    rig = Rig(ALL, listener=Notes)
    rig.turn_on()
    rig.system.run()
    with pytest.raises(Blocked):
        rig.call(psci.CPU_OFF, 0xDEAD_BEEF_1234_5678, 2, 3, pe=1)
    gic = rig.machine.gic
    gic.configure(INTID, group=GROUP1NS, enabled=True, target=0)
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.set_pending(INTID)
    assert rig.call(psci.CPU_SUSPEND_64, 0x1_0000_0007, 0xDEAD_0000, 3) == 0
    request, psci_message, warm_boot = fid.FFA_MSG_SEND_DIRECT_REQ_32, 0x8000_0000, 0x8000_0001
    assert told == [
        (request, psci_message, psci.CPU_ON_64, MPIDR, 0, 0, 0),
        (request, psci_message, psci.CPU_OFF, 0, 0, 0, 0),
        (request, psci_message, psci.CPU_SUSPEND_64, 7, 0, 0, 0),
        (request, warm_boot, 1, 0, 0, 0, 0),
    ]


def test_one_that_yields_has_had_its_chance_and_nobody_gets_its_answer() -> None:
    class Yields(Listener):
        async def on_power_message(self, function: int, ffa: Any) -> Return | None:
            await super().on_power_message(function, ffa)
            if function == psci.CPU_OFF and self.name == "sp0":
                await ffa.yield_()
                self.heard.append((self.name, "goes on", ffa.vcpu.pe))
                await ffa.id_get()
            return self.answer

    rig = Rig(ALL, ALL, listener=Yields, sp1=Return.DENIED)
    rig.turn_on()
    rig.system.run()
    rig.heard.clear()
    assert rig.turn_off() == Return.DENIED.register64
    assert rig.heard == [("sp0", "CPU_OFF", 1), ("sp1", "CPU_OFF", 1)]
    kernel = rig.kernel.vcpu(1)
    answer = kernel.call(fid.FFA_RUN, rig.sp_id(0) << 16 | 1)
    assert [*answer[:8]] == [fid.FFA_MSG_WAIT, *[0] * 7]
    assert rig.heard[2:] == [("sp0", "goes on", 1)]
    request = kernel.call(fid.FFA_MSG_SEND_DIRECT_REQ_32, rig.sp_id(0))
    assert request[0] == fid.FFA_YIELD


@pytest.mark.parametrize("action", AbortAction)
def test_an_sp_that_fails_meanwhile_has_its_abort_action(action: AbortAction) -> None:
    class Fails(Listener):
        async def on_power_message(self, function: int, ffa: Any) -> Return | None:
            await super().on_power_message(function, ffa)
            if function == psci.CPU_OFF:
                raise ValueError("no more")
            return None

    heard: Heard = []
    fails = sp(
        Fails("fails", heard), name="fails", boot_order=0, power_management_messages=ALL,
        ffa_version="1.3", lifecycle_support=True, abort_action=action,
    )  # fmt: skip
    hears = sp(
        Listener("hears", heard), name="hears", boot_order=1, power_management_messages=ALL,
        vcpus=PES,
    )  # fmt: skip
    kernel = vm("kernel", vcpus=PES)
    system = boot(pes=PES, sps=[fails, hears], vms=[kernel], hypervisor=False, stop_on_crash=False)
    first, second = system.vm("kernel").vcpu(0), system.vm("kernel").vcpu(1)
    first.call(psci.CPU_ON_64, MPIDR, system.vm("kernel")._inside.spec.entry)
    system.run()
    heard.clear()
    with pytest.raises(Blocked):
        second.call(psci.CPU_OFF)
    told = [("fails", "CPU_OFF", 1), ("hears", "CPU_OFF", 1)]
    if action is AbortAction.PROPAGATE:
        assert heard == told[:1]
        assert system.system.firmware.monitor.power_state.startswith("panic: fails")
        return
    assert heard == told
    assert not system.system.machine.pes[1].on
    answer = first.call(fid.FFA_MSG_SEND_DIRECT_REQ_32, system.system.endpoint("fails").id)
    expected = {
        AbortAction.STOP: (fid.FFA_ERROR, Status.BUSY.register),
        AbortAction.DESTROY: (fid.FFA_ERROR, Status.INVALID_PARAMETERS.register),
        AbortAction.RESTART: (fid.FFA_YIELD, 0),
    }
    assert (answer[0], answer[2]) == expected[action]


def test_a_suspension_is_told_before_and_after() -> None:
    rig = Rig(
        int(PowerMessages.CPU_SUSPEND),
        int(PowerMessages.CPU_SUSPEND_RESUME),
        int(PowerMessages.CPU_OFF),
    )
    rig.suspend(wake=False)
    assert rig.heard == [("sp0", "CPU_SUSPEND_64", 0)]
    rig.machine.gic.set_pending(INTID)
    rig.system.run()
    assert rig.heard == [("sp0", "CPU_SUSPEND_64", 0), ("sp1", "WARM_BOOT", 0)]
    assert rig.call(psci.PSCI_VERSION) == psci.VERSION_1_1


def test_a_pe_waits_when_the_last_sp_has_been_told(ffabric: Any) -> None:
    """Kernel and SP are driven, so no loop is around the exit of the SP."""
    told = sp("told", power_management_messages=ALL)
    system = ffabric.boot(sps=[told], vms=["kernel"], hypervisor=False)
    kernel, listener = system.vm("kernel").vcpu(0), system.sp("told").vcpu(0)
    pe, cpu = system.system.machine.pes[0], system.system.firmware.monitor.cpus[0]
    with pytest.raises(Blocked):
        listener.call(fid.FFA_MSG_WAIT)
    with pytest.raises(Blocked):
        kernel.call(psci.CPU_SUSPEND_64, 0)
    response = [fid.FFA_MSG_SEND_DIRECT_RESP_32, 0x8001_8000, 0x8000_0002, 0]
    with pytest.raises(Blocked):
        listener.call(*response)
    assert pe.idle
    assert cpu.is_suspended
    gic = system.system.machine.gic
    gic.configure(INTID, group=GROUP1NS, enabled=True, target=0)
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.set_pending(INTID)
    system.run()
    assert not cpu.is_suspended
    assert system.system.endpoint("told").partition.contexts[0].x[2:4] == [0x8000_0001, 1]
    with pytest.raises(Blocked):
        listener.call(*response)
    assert not pe.idle


def test_a_suspension_that_ends_at_once_is_told_as_well() -> None:
    rig = Rig(ALL)
    rig.suspend(wake=True)
    assert rig.heard == [("sp0", "CPU_SUSPEND_64", 0), ("sp0", "WARM_BOOT", 0)]


@pytest.mark.parametrize("subscription", [ALL, int(PowerMessages.CPU_SUSPEND), 4, 1, 0])
def test_whoever_is_told_of_a_suspension_s_end_is_before_the_kernel_goes_on(
    subscription: int,
) -> None:
    """The interrupt was offered before, and the kernel has not taken it: it pends all the time."""
    rig = Rig(subscription)
    gic = rig.machine.gic
    gic.configure(INTID, group=GROUP1NS, enabled=True, target=0)
    gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    gic.set_pending(INTID)
    assert rig.call(psci.PSCI_VERSION) == psci.VERSION_1_1
    assert rig.call(psci.CPU_SUSPEND_64, 0) == 0
    told = [("sp0", "CPU_SUSPEND_64", 0)] * bool(subscription & PowerMessages.CPU_SUSPEND)
    told += [("sp0", "WARM_BOOT", 0)] * bool(subscription & PowerMessages.CPU_SUSPEND_RESUME)
    assert rig.heard == told
    assert not rig.system.system.firmware.monitor.cpus[0].is_suspended
    with pytest.raises(Blocked):
        rig.call(psci.CPU_OFF)
    assert rig.heard[len(told) :] == [("sp0", "CPU_OFF", 0)] * bool(subscription & 1)
    assert not rig.machine.pes[0].on


def test_an_sp_that_fails_meanwhile_does_not_keep_the_pe_on() -> None:
    rig = Rig(ALL, ALL)
    rig.turn_on()
    rig.system.run()
    rig.heard.clear()
    rig.system.sp("sp0").software.heard = None
    assert rig.turn_off() is None
    assert not rig.system.sp("sp0")._inside.partition.alive
    assert rig.heard == [("sp1", "CPU_OFF", 1)]
    assert not rig.machine.pes[1].on


def test_non_secure_interrupts_wait_for_the_answer() -> None:
    heard: list[bool] = []

    class Slow(Listener):
        async def on_power_message(self, function: int, ffa: Any) -> None:
            rig.machine.gic.configure(INTID, group=GROUP1NS, enabled=True, target=0)
            rig.machine.gic.set_pending(INTID)
            await ffa.features(fid.FFA_RUN)
            heard.append(True)

    rig = Rig()
    rig.heard = []
    rig.system.close()
    slow = sp(Slow("slow", []), name="slow", power_management_messages=ALL)
    rig.system = boot(sps=[slow], vms=["kernel"], hypervisor=False, pes=1)
    rig.machine = rig.system.system.machine
    rig.machine.gic.sysreg_write(0, "ICC_IGRPEN1_EL1", 1, secure=False)
    rig.kernel = rig.system.vm("kernel")
    with pytest.raises(Blocked):
        rig.call(psci.CPU_OFF)
    assert heard == [True]
    assert not rig.machine.pes[0].on


def test_a_vm_s_calls_are_about_its_vcpus() -> None:
    heard: Heard = []
    listener = sp(Listener("s", heard), vcpus=PES, name="s", power_management_messages=ALL)
    system = boot(pes=PES, sps=[listener], vms=[vm("v", vcpus=PES)])
    system.run()
    assert heard == [("s", "CPU_ON_64", 1)]  # the hypervisor's own call
    first, second = system.vm("v").vcpu(0), system.vm("v").vcpu(1)
    assert first.call(psci.CPU_ON_64, MPIDR, system.vm("v")._inside.spec.entry)[0] == 0
    with pytest.raises(Blocked):
        second.call(psci.CPU_OFF)
    assert len(heard) == 1
