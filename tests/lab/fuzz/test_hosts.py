"""Random calls where hosts donate the memory of protected VMs, and devices have DMA."""

import struct
from random import Random

import pytest

from ffabric.abi import psci
from ffabric.abi.ffa.flags import FRAMEWORK_MESSAGE
from ffabric.abi.ffa.framework import PSCI_RESPONSE
from ffabric.abi.words import PAGE
from ffabric.firmware.state import context
from ffabric.firmware.state.checking import checked as context_checked
from ffabric.firmware.state.events import Activation as Activated
from ffabric.lab.fuzz.actors import Actor
from ffabric.lab.fuzz.calls.smmu import CMDQ, LEAF, SHAPE, Programmer
from ffabric.lab.fuzz.campaign import HOSTS, Plan, State, campaign, play
from ffabric.lab.fuzz.episodes import MARK, Episode
from ffabric.lab.fuzz.report import Report
from ffabric.lab.fuzz.stage import Stage
from ffabric.lab.fuzz.systems import HOSTS as SYSTEMS
from ffabric.lab.oracle.address_spaces import Discrepancy
from ffabric.lab.oracle.stream_tables import CR0, STAGE2, TABLE, TABLE_CONFIG
from ffabric.lab.processes import Players, spread
from ffabric.machine.translation.smmu import Entry

PRIMARY = next(n for n, each in enumerate(SYSTEMS) if each.spec.primary_vm)
ACTIVATED = next(
    n for n, each in enumerate(SYSTEMS) if each.spec.sps[0].manifest.live_activation_support
)
POWER = next(n for n, each in enumerate(SYSTEMS) if each.powers)
PROGRAMMED = next(n for n, each in enumerate(SYSTEMS) if each.spec.devices)


def episode(seed, system):
    """An episode on a system by its number."""
    for number in range(50):
        made = Episode(f"{seed}{number}", Report(), hosts=True)
        if made.stage.system.spec is SYSTEMS[system].spec:
            return made
        made.stage.__exit__(None)
    raise LookupError(system)


def test_nothing_is_wrong_there():
    state = State(Plan(HOSTS, 5, 1500))
    games = campaign(state, Players(spread, 1))
    assert all(played.failure is None for played in games)
    assert state.report.calls >= 1500
    assert play("hosts/5/0/1500").failure is None


@pytest.mark.parametrize("cast", [each for each in SYSTEMS if each.host])
def test_a_host_donates_the_memory_of_a_vm_that_comes(cast):
    with Stage(cast.spec, cast.hostile, 1, host=cast.host) as stage:
        (first, *_) = stage.create()
        host = next(actor for actor in stage.actors if actor.endpoint.name == cast.host)
        pieces = [piece.pa for piece in first.endpoint.spec.memory]
        assert pieces
        for run in host.endpoint.spec.memory:
            inside = [pa for pa in pieces if run.pa <= pa < run.pa + run.size]
            assert inside or run.size < 4 << 20
        stage.check()
        stage.destroy(first.endpoint.name)
        stage.check()


def test_a_kernel_turns_its_pes_off_and_on_and_sps_hear_of_it():
    heard = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Actor, "call", _noting(Actor.call, heard))
        for number in range(3):
            with context_checked(), episode(f"power{number}", POWER) as made:
                made.play(2000)
                made.settle()
    assert {psci.CPU_ON_64, psci.CPU_OFF, psci.CPU_SUSPEND_64} <= heard
    assert {psci.Return.SUCCESS.register, psci.Return.DENIED.register} <= heard


def _noting(call, heard):
    """Notes PSCI functions of a kernel, and the status with which SPs answer that they are told."""

    def noted(actor, registers):
        if registers[0] in psci.FUNCTIONS:
            heard.add(registers[0])
        elif len(registers) == 4 and registers[2] == FRAMEWORK_MESSAGE | PSCI_RESPONSE:
            heard.add(registers[3])
        return call(actor, registers)

    return noted


def test_a_device_stores_where_its_partition_may():
    with episode("device", 1) as made:
        actor = next(actor for actor in made.stage.actors if actor.name == "mallory.0")
        assert made.stage.streams["mallory"]
        for ipa in (actor.ram.base, actor.ram.base + actor.ram.size, 1 << 39):
            made._touch(actor, ipa)


def test_a_device_that_stores_where_its_partition_may_not_is_found():
    with episode("found", 1) as made:
        actor = next(actor for actor in made.stage.actors if actor.name == "mallory.0")
        (stream,) = made.stage.streams["mallory"]
        made.stage.system.smmu.table[stream] = Entry("mallory")  # it bypasses translation
        with pytest.raises(Discrepancy, match=r"a device of mallory\.0 stores at"):
            made._touch(actor, actor.endpoint.spec.memory[0].pa)


def programmed(seed):
    """An episode whose hostile SP programs the SMMU of its devices, and that SP."""
    made = episode(seed, PROGRAMMED)
    return made, next(actor for actor in made.stage.actors if actor.name == "trudy.0")


def lead(made, actor, to):
    """Let the SMMU of ``actor`` lead page 0 of its streams ``to`` a page."""
    programmer = Programmer(Random(1), actor, made.stage.smmus["trudy"], lambda: to)
    table, commands, _, first, second, third = programmer.pages
    write = actor.memory.write64
    base = made.stage.smmus["trudy"]
    for register, value in ((TABLE, table), (CMDQ, commands | 2)):
        write(base + register, value)
    actor.memory.write32(base + TABLE_CONFIG, 3)
    for stream in (1, 2):
        entry = (STAGE2 << 1 | 1, 0, SHAPE, first)
        actor.memory.write(table + 64 * stream, struct.pack("<4Q", *entry))
    for at, word in ((first, second | 3), (second, third | 3), (third, to | LEAF)):
        write(at, word)
    actor.memory.write32(base + CR0, 1)


def test_a_programmed_smmu_leads_a_device_where_the_judge_says():
    made, actor = programmed("led")
    with made:
        own = actor.ram.base + 3 * PAGE
        other = made.stage.actors[-1].ram.base
        for to, stored in ((own, True), (other, False)):
            lead(made, actor, to)
            for stream in made.stage.streams["trudy"]:
                reach = made.stage.ledger.tables.reaches[actor.endpoint.partition]
                made._access(actor, stream, 0x10, reach.leaf(0))
            assert (actor.memory.read(own + 0x10, len(MARK)) == MARK) == stored
            actor.memory.write(own + 0x10, bytes(len(MARK)))


def test_one_that_leads_it_past_its_programmers_stage_2_is_found():
    made, actor = programmed("past")
    with made:
        bob = next(each for each in made.stage.actors if each.name == "bob.0")
        lead(made, actor, bob.ram.base)
        entry = made.stage.system.smmu.table
        (stream, _) = made.stage.streams["trudy"]
        entry[stream] = Entry("trudy")  # what comes out of it bypasses translation
        with pytest.raises(Discrepancy, match=r"a device of trudy\.0"):
            made._access(actor, stream, 0x10, 0)


@pytest.mark.parametrize("system", range(len(SYSTEMS)))
def test_nothing_is_wrong_in_any_of_these_systems(system):
    with episode("calm", system) as made:
        made.play(300)
        made.settle()


def test_the_primary_vm_gives_cycles_to_those_that_it_schedules():
    with episode("primary", PRIMARY) as made:
        alice, mallory, chuck = (
            next(each for each in made.stage.actors if each.name == f"{name}.0")
            for name in ("alice", "mallory", "chuck")
        )
        assert alice.ready()
        assert not mallory.runner.in_control
        for secondary in (mallory, chuck):
            assert secondary.ready()
            assert secondary.ctx.caller is alice.ctx
        assert alice.ready()
        assert chuck.ctx.state is context.State.WAITING
        (vm, *_) = made.stage.create()
        assert vm.ready()
        assert vm.ctx.caller is alice.ctx
        made.stage.check()


def test_an_sp_gets_a_new_image():
    with episode("activated", ACTIVATED) as made:
        heard = []

        class Steps:
            def record(self, event):
                if isinstance(event, Activated):
                    heard.append(event.step)

        made.stage.system.attach(Steps())
        host = next(each for each in made.stage.actors if each.name == "mallory.0")
        trudy = next(each for each in made.stage.actors if each.name == "trudy.0")
        while "activated" not in heard:
            if host.ready():
                made._activate(host)
            elif trudy.runner.in_control:
                trudy.give_back()
            made.stage.check()
        assert heard[:2] == ["stopping", "stopped"]
        assert trudy.ready()
        made.stage.check()
        made.settle()
