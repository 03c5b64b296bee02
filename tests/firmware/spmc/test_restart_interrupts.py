"""An SP that is started again finds the interrupts of its devices as at boot."""

import pytest
from interrupt_sides import EDGE, FIRST, LEVEL, device

from ffabric.abi.ffa.version import V1_3
from ffabric.guests.errors import FfaError
from ffabric.guests.partition import Partition
from ffabric.machine.gic.interrupts import State
from ffabric.system.description.python import sp
from ffabric.system.manifest.manifest import AbortAction, ExceptionLevel

FAULT, ECHO = 1, 2


class Driver(Partition):
    """It takes its device's interrupt in the lives in which it enables it."""

    name = "driver"

    def __init__(self, *, enables=(1, 2), dies_of_it=False):
        super().__init__()
        self.enables, self.dies_of_it = enables, dies_of_it
        self.lives, self.heard = 0, []
        self.lower = None
        """Lets the device lower its line."""

    async def on_boot(self, ffa):
        self.lives += 1
        if self.lives in self.enables:
            await self.enable_interrupt(ffa, FIRST)

    async def on_device_interrupt(self, intid, ffa):
        self.heard.append((self.lives, intid))
        self.lower()
        if self.dies_of_it and self.lives == 1:
            raise ValueError("no more")

    async def on_wake(self, ffa):
        self.heard.append((self.lives, "woken"))

    async def on_direct_request(self, request, ffa):
        if request.payload[0] == FAULT:
            raise ValueError("no more")
        return request.respond(self.lives)


class Rig:
    """A VM, and a driver that dies once."""

    def __init__(self, ffabric, driver, kind, **options):
        self.driver, self.kind = driver, kind
        given = sp(
            driver, device_regions=(device(FIRST, kind),), ffa_version=V1_3,
            lifecycle_support=True, abort_action=AbortAction.RESTART, **options,
        )  # fmt: skip
        self.system = ffabric.boot(sps=[given], vms=["v"], stop_on_crash=False)
        self.gic = self.system.system.machine.gic
        driver.lower = lambda: self.gic.set_level(FIRST, False)
        self.system.run()

    def ask(self, what):
        return self.system.vm("v").ffa.direct_request("driver", what).payload[0]

    def die(self):
        with pytest.raises(FfaError):
            self.ask(FAULT)
        self.system.run()
        assert self.driver.lives == 2

    def interrupt(self):
        """The device raises its interrupt: what the driver has heard since."""
        if self.kind == EDGE:
            self.gic.set_pending(FIRST)
        else:
            self.gic.set_level(FIRST, True)
        self.system.run()
        heard, self.driver.heard = self.driver.heard, []
        return heard


@pytest.fixture(params=[EDGE, LEVEL], ids=["edge", "level"])
def kind(request):
    return request.param


def test_one_that_enables_its_interrupt_again_hears_of_it(ffabric, kind):
    rig = Rig(ffabric, Driver(), kind)
    assert rig.interrupt()[0] == (1, FIRST)
    rig.die()
    assert rig.interrupt()[0] == (2, FIRST)


def test_one_that_does_not_is_not_even_woken(ffabric, kind):
    rig = Rig(ffabric, Driver(enables=(1,)), kind)
    assert rig.interrupt()[0] == (1, FIRST)
    rig.die()
    assert not rig.gic.enabled(FIRST)
    assert rig.interrupt() == []
    assert rig.ask(ECHO) == 2


def test_what_it_was_handling_when_it_died_is_over(ffabric, kind):
    rig = Rig(ffabric, Driver(dies_of_it=True), kind)
    rig.gic.set_pending(FIRST)
    rig.system.run()
    assert rig.driver.heard == [(1, FIRST)]
    assert rig.gic.state(FIRST) is State.INACTIVE
    rig.driver.heard = []
    assert rig.interrupt()[0] == (2, FIRST)


def test_at_s_el0_it_is_enabled_from_the_start(ffabric, kind):
    driver = Driver(enables=())
    rig = Rig(ffabric, driver, kind, exception_level=ExceptionLevel.S_EL0)
    assert rig.interrupt()[0] == (1, FIRST)
    rig.die()
    assert rig.gic.enabled(FIRST)
    assert rig.interrupt()[0] == (2, FIRST)
