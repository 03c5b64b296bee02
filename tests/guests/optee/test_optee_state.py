"""Any order of calls of two VMs that come and go, against a model of what OP-TEE must answer."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from optee_sides import ADD, LAB, REVERSE, WAIT, Lab

from ffabric.abi.optee.ffa import Return
from ffabric.abi.optee.message import Command, Message, Type, Value
from ffabric.abi.optee.tee import Result
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.session.booting import boot
from ffabric.session.optee import BlockingDriver
from ffabric.system.description.python import vm

THREADS = 2
VMS = st.sampled_from([0, 1])
PICK = st.integers(0, 99)


class Model:
    """A VM: its driver, and what it should find in OP-TEE."""

    def __init__(self, name, driver):
        self.name = name
        self.driver = driver
        self.sums = {}  # session -> sum
        self.memory = []
        self.waiting = []  # (pending call, session, memory or None)

    def busy(self, session):
        return any(each[1] == session for each in self.waiting)


class TwoVms(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.core = OpTee(Lab, vms=2, threads=THREADS)
        self.session = boot(sps=[self.core], vms=["vm0", "vm1"])
        self.born = 2
        self.vms = [self.model("vm0"), self.model("vm1")]

    def model(self, name):
        driver = BlockingDriver(self.session.vm(name).ffa)
        driver.probe()
        return Model(name, driver)

    def fails(self, result, call, *args):
        with pytest.raises(TeeError) as caught:
            call(*args)
        assert caught.value.result == result

    def pick(self, who, at):
        """A VM and one of its sessions that no call is in; None if it has none."""
        model = self.vms[who]
        free = [session for session in model.sums if not model.busy(session)]
        return model, free[at % len(free)] if free else None

    def without_threads(self, model, call, *args):
        """Whether all threads are in use, so that a call gets none."""
        if len(model.waiting) < THREADS:
            return False
        self.fails(Result.BUSY, call, *args)
        return True

    @rule(who=VMS)
    def open(self, who):
        model = self.vms[who]
        if not self.without_threads(model, model.driver.open_session, LAB):
            number = model.driver.open_session(LAB)
            assert number not in model.sums
            model.sums[number] = 0

    @rule(who=VMS, at=PICK, amount=st.integers(0, 9))
    def add(self, who, at, amount):
        model, session = self.pick(who, at)
        call = (model.driver.invoke, session or 0, ADD, Value(Type.VALUE_INOUT, amount))
        if self.without_threads(model, *call):
            return
        if session is None:
            self.fails(Result.BAD_PARAMETERS, *call)
            return
        model.sums[session] += amount
        assert call[0](*call[1:])[0].a == model.sums[session]

    @rule(who=VMS, at=PICK)
    def close(self, who, at):
        model, session = self.pick(who, at)
        if self.without_threads(model, model.driver.close_session, session or 0):
            return
        if session is None:
            self.fails(Result.ITEM_NOT_FOUND, model.driver.close_session, 0)
            return
        model.driver.close_session(session)
        del model.sums[session]

    @rule(who=VMS, size=st.integers(1, 9000))
    def allocate(self, who, size):
        model = self.vms[who]
        model.memory.append(model.driver.allocate(size))

    @rule(who=VMS, at=PICK, which=PICK)
    def reverse(self, who, at, which):
        model, session = self.pick(who, at)
        if session is None or not model.memory:
            return
        shm = model.memory[which % len(model.memory)]
        shm.write(b"ab"[: shm.size])
        call = (model.driver.invoke, session, REVERSE, shm.inout())
        if not self.without_threads(model, *call):
            call[0](*call[1:])
            assert shm.read().endswith(b"ba"[-shm.size :])

    @rule(who=VMS, which=PICK)
    def free(self, who, which):
        model = self.vms[who]
        if not model.memory:
            return
        shm = model.memory[which % len(model.memory)]
        if any(each[2] is shm for each in model.waiting):
            self.fails(Result.BUSY, model.driver.free, shm)
        else:
            model.driver.free(shm)
            model.memory.remove(shm)

    @rule(who=VMS, at=PICK, which=PICK, with_memory=st.booleans())
    def wait(self, who, at, which, with_memory):
        model, session = self.pick(who, at)
        if session is None:
            return
        shm = model.memory[which % len(model.memory)] if with_memory and model.memory else None
        params = [Value(Type.VALUE_INPUT, 7), *([shm.inout()] if shm else [])]
        message = Message(Command.INVOKE_COMMAND, WAIT, session, params=params)
        if not self.without_threads(model, model.driver.begin, message):
            pending = model.driver.begin(message)
            assert pending.kind is Return.RPC_CMD
            model.waiting.append((pending, session, shm))

    @rule(who=VMS, which=PICK)
    def finish(self, who, which):
        model = self.vms[who]
        if not model.waiting:
            return
        pending, _, _ = model.waiting.pop(which % len(model.waiting))
        pending.rpc.ret = 0
        model.driver.respond(pending, pending.rpc)
        model.driver.resume(pending)
        assert pending.kind is Return.DONE
        assert model.driver.finish(pending).ret == 0

    @rule(who=VMS)
    def end_of_a_vm(self, who):
        system = self.session.system
        system.destroy_vm(self.vms[who].name)
        self.session.run()
        assert not system.firmware.hypervisor.retried.orphans
        name = f"vm{self.born}"
        self.born += 1
        system.create_vm(vm(name))
        self.session.run()
        self.vms[who] = self.model(name)

    @invariant()
    def banks_are_as_the_model_says(self):
        if not hasattr(self, "vms"):
            return
        assert set(self.core.banks) == {self.session.vm(each.name).id for each in self.vms}
        for model in self.vms:
            bank = self.core.banks[self.session.vm(model.name).id]
            assert len(bank.sessions) == len(model.sums)
            suspended = sum(thread.program is not None for thread in bank.threads.all)
            assert suspended == len(model.waiting)
            held = {each[2].cookie for each in model.waiting if each[2] is not None}
            slots = {each[0].shm.cookie for each in model.waiting}
            used = {cookie for cookie, region in bank.memory.regions.items() if region.references}
            assert used == held | slots

    def teardown(self):
        if hasattr(self, "session"):
            self.session.close()


TestTwoVms = TwoVms.TestCase
TestTwoVms.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, derandomize=True
)
