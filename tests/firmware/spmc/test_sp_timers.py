"""The EL1 timers of secure partitions, which the SPMC emulates (`timers.S`)."""

from pathlib import Path
from typing import ClassVar

import pytest

from ffabric import boot as driven
from ffabric.abi import hafnium, psci
from ffabric.abi.ffa import functions as fid
from ffabric.firmware.state.endpoints import AbortAction
from ffabric.guests.partition import Partition
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.manifest.manifest import DeviceRegion, ExceptionLevel, Interrupt
from ffabric.system.options.problems import SystemErrors
from ffabric.system.vcpu import UndefinedRegister

CODE = bytearray((Path(__file__).parents[2] / "images" / "timers.bin").read_bytes())
MILLISECOND = 1_000_000


def image(how):
    code = CODE.copy()
    code[-4] = how
    return bytes(code)


def logged(**described):
    lines = []
    with boot(describe(**described)) as system:
        system.listeners.append(lambda name, line: lines.append((name, line)))
        system.run()
        return lines, system.machine.clock.now


class Idle(Partition):
    """A VM that has nothing to do."""


@pytest.mark.parametrize(
    "how",
    [0, 1, 2, 3, 4],
    ids=["WFI", "a loop", "FFA_MSG_WAIT", "polling", "the virtual timer"],
)
def test_a_timer_comes_as_virtual_interrupt_3(how):
    lines, now = logged(sps=[sp("timed", image=image(how))], vms=[Idle()])
    assert lines == [("timed", "3")]
    assert MILLISECOND <= now < 2 * MILLISECOND


def test_contexts_that_wait_for_their_timers_on_one_pe_all_hear():
    sps = [sp(f"sp{n}", image=image(2)) for n in range(3)]
    lines, _ = logged(sps=sps, vms=[Idle()])
    assert sorted(lines) == [("sp0", "3"), ("sp1", "3"), ("sp2", "3")]


class Programs(Partition):
    """Reads and writes registers in its initialisation."""

    def __init__(self, *accesses):
        super().__init__()
        self.accesses = accesses
        self.seen = []

    async def on_boot(self, ffa):
        for register, value in self.accesses:
            try:
                if value is not None:
                    ffa.vcpu.msr(register, value)
                self.seen.append(ffa.vcpu.mrs(register))
            except UndefinedRegister:
                self.seen.append(None)


def test_a_timer_has_its_registers():
    far = 1 << 40
    software = Programs(
        ("CNTP_CVAL_EL0", far), ("CNTP_CTL_EL0", 1), ("CNTP_CVAL_EL0", 0), ("CNTP_CTL_EL0", None)
    )
    with boot(describe(sps=[software], vms=["vm"])) as system:
        system.run()
    assert software.seen == [far, 1, 0, 5]


@pytest.mark.parametrize(("last", "heard"), [(1, [3]), (0, [])])
def test_a_timer_that_is_turned_off_at_once_interrupts_nobody(last, heard):
    class Hears(Programs):
        def __init__(self, *accesses):
            super().__init__(*accesses)
            self.heard = []

        async def on_boot(self, ffa):
            await self.enable_interrupt(ffa, hafnium.VIRTUAL_TIMER_INTID)
            await super().on_boot(ffa)
            await ffa.id_get()

        async def on_device_interrupt(self, intid, ffa):
            self.heard.append(intid)
            ffa.vcpu.msr("CNTP_CTL_EL0", 0)

    software = Hears(("CNTP_CVAL_EL0", 0), ("CNTP_CTL_EL0", 1), ("CNTP_CTL_EL0", last))
    with boot(describe(sps=[software], vms=[Idle()])) as system:
        system.run()
    assert software.heard == heard


@pytest.mark.parametrize("timer", ["CNTP", "CNTV"])
@pytest.mark.parametrize(
    ("again", "times"),
    [
        ((("CVAL", 1),), 3),
        ((("TVAL", 0),), 3),
        ((("CTL", 1),), 3),
        ((("CTL", 3), ("CVAL", 1)), 1),
        ((("CTL", 0), ("CVAL", 1)), 1),
    ],
    ids=["CVAL", "TVAL", "CTL", "masked", "disabled"],
)
def test_a_timer_that_is_programmed_to_what_is_past_interrupts_again(timer, again, times):
    class Hears(Programs):
        heard = 0

        async def on_boot(self, ffa):
            await self.enable_interrupt(ffa, hafnium.VIRTUAL_TIMER_INTID)
            await super().on_boot(ffa)
            await ffa.id_get()

        async def on_device_interrupt(self, intid, ffa):
            self.heard += 1
            if self.heard < 3:
                for what, value in again:
                    ffa.vcpu.msr(f"{timer}_{what}_EL0", value)

    software = Hears((f"{timer}_CVAL_EL0", 0), (f"{timer}_CTL_EL0", 1))
    with boot(describe(sps=[software], vms=[Idle()])) as system:
        system.run()
    assert software.heard == times


def test_an_sp_that_has_moved_to_another_pe_has_its_timer_there():
    class Hears(Partition):
        heard: ClassVar[list[tuple[int, int]]] = []

        async def on_boot(self, ffa):
            await self.enable_interrupt(ffa, hafnium.VIRTUAL_TIMER_INTID)

        async def on_direct_request(self, request, ffa):
            ffa.vcpu.msr("CNTV_TVAL_EL0", request.payload[0])
            ffa.vcpu.msr("CNTV_CTL_EL0", 1)
            return request.respond()

        async def on_device_interrupt(self, intid, ffa):
            self.heard.append((intid, ffa.vcpu.pe))
            ffa.vcpu.msr("CNTV_CTL_EL0", 0)

    system = driven(pes=2, sps=[Hears()], vms=[vm("v", vcpus=2)])
    client = system.vm("v")
    client.ffa.call(psci.CPU_ON_64, system.system.machine.pes[1].mpidr, 0x4000_0000, 0)
    ids = client.id << 16 | system.sp("hears").id
    for pe, ticks in ((0, 100_000), (1, 50_000)):
        client.vcpu(pe).call(fid.FFA_MSG_SEND_DIRECT_REQ_32, ids, 0, ticks)
    system.run()
    assert Hears.heard == [(hafnium.VIRTUAL_TIMER_INTID, 1)]
    system.close()


def test_an_sp_that_is_started_again_has_its_timers_off():
    class Fails(Partition):
        lives = 0
        heard = 0

        async def on_boot(self, ffa):
            Fails.lives += 1
            await self.enable_interrupt(ffa, hafnium.VIRTUAL_TIMER_INTID)
            assert ffa.vcpu.mrs("CNTP_CTL_EL0") == 0

        async def on_direct_request(self, request, ffa):
            ffa.vcpu.msr("CNTP_TVAL_EL0", 100_000)
            ffa.vcpu.msr("CNTP_CTL_EL0", 1)
            raise ValueError("no more")

        async def on_device_interrupt(self, intid, ffa):
            Fails.heard += 1
            ffa.vcpu.msr("CNTP_CTL_EL0", 0)

    fails = sp(Fails(), ffa_version="1.3", lifecycle_support=True, abort_action=AbortAction.RESTART)
    system = driven(sps=[fails], vms=["v"], stop_on_crash=False)
    ids = system.vm("v").id << 16 | system.system.endpoint("fails").id
    system.vm("v").vcpu(0).call(fid.FFA_MSG_SEND_DIRECT_REQ_32, ids)
    system.system.machine.clock.advance(2 * MILLISECOND)
    system.run()
    assert system.system.endpoint("fails").partition.alive
    assert (Fails.lives, Fails.heard) == (2, 0)
    system.close()


@pytest.mark.parametrize(
    "register", ["CNTPS_CTL_EL1", "CNTVOFF_EL2", "CNTHP_CTL_EL2", "ICC_PMR_EL1"]
)
def test_an_sp_has_no_other_timers_and_no_gic(register):
    software = Programs((register, 1))
    with boot(describe(sps=[software], vms=["vm"])) as system:
        system.run()
    assert software.seen == [None]


def test_an_sp_at_s_el0_has_no_timers():
    software = Programs(("CNTP_CTL_EL0", 1))
    user = sp(software, exception_level=ExceptionLevel.S_EL0)
    with boot(describe(sps=[user], vms=["vm"])) as system:
        system.run()
    assert software.seen == [None]


def test_a_timer_of_the_dead_interrupts_nobody():
    class Dies(Programs):
        async def on_boot(self, ffa):
            await super().on_boot(ffa)
            raise ValueError("no more")

    software = Dies(("CNTP_CVAL_EL0", 100_000), ("CNTP_CTL_EL0", 1))
    spec = describe(sps=[software], vms=[Idle()], stop_on_crash=False)
    with boot(spec) as system:
        system.run()
        assert system.machine.clock.now >= 100_000 * 16
        assert system.endpoint("dies").partition.fate == "ValueError: no more"


def test_the_number_is_hafniums():
    assert hafnium.VIRTUAL_TIMER_INTID == 3


@pytest.mark.parametrize(("intid", "refused"), [(20, True), (19, False), (21, False)])
def test_the_timer_of_the_spmc_is_no_device(intid, refused):
    interrupt = Interrupt(id=intid, attributes=0)
    region = DeviceRegion(
        name="uart", base_address=0x1C09_0000, pages=1, attributes=3, interrupts=(interrupt,)
    )
    draft = sp("s", device_regions=(region,))
    if refused:
        with pytest.raises(SystemErrors, match="interrupt 20 is the timer of the SPMC"):
            describe(sps=[draft])
    else:
        describe(sps=[draft])
