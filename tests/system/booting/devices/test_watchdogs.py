"""Watchdogs of a described system, and what their second timeout does."""

import pytest

from ffabric.machine.clock import NS_PER_TICK
from ffabric.system.booting.boot import boot
from ffabric.system.description.toml.system import read_parsed

BASE = 0x2A44_0000
WCS, WOR = 0, 8
TICKS = 1000
STAGE = (TICKS + 1) * NS_PER_TICK


@pytest.mark.parametrize(
    ("options", "reason"),
    [({}, "the watchdog dog resets the system"), ({"resets": False}, "")],
)
def test_the_second_timeout_resets_what_it_is_wired_to(tmp_path, options, reason):
    dog = {"type": "generic_watchdog", "name": "dog", "base": BASE, "interrupt": 59, **options}
    with boot(read_parsed({"device": [dog]}, tmp_path / "system.toml")) as system:
        bus = system.machine.bus
        bus.write(BASE + WOR, 4, TICKS, secure=False)
        bus.write(BASE + WCS, 4, 1, secure=False)
        system.machine.clock.advance(STAGE)
        assert bus.read(BASE + WCS, 4, secure=False) == 0b011
        assert system.stop_reason == ""
        system.machine.clock.advance(STAGE)
        assert bus.read(BASE + WCS, 4, secure=False) == 0b111
        assert system.stop_reason == reason
