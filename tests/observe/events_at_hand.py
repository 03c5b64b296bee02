"""Lines of a trace as tests write them down."""

from ffabric.machine.context import REGISTERS
from ffabric.observe.lines import FORMAT, Header


def header(endpoints, *, hypervisor=True, services=()):
    return Header(FORMAT, "system", 1, hypervisor, endpoints, dict(services))


def at(kind, endpoint, x, pe=0, t=0, **more):
    """An event with registers, those behind ``x`` zero."""
    return kind(pe, endpoint, 0, (*x, *[0] * (REGISTERS - len(x))), t=t, **more)
