"""Lines of a trace, as tests write them down, or record them."""

import io

from ffabric.machine.context import REGISTERS
from ffabric.observe.lines import FORMAT, Header, read
from ffabric.observe.trace import Trace


def header(endpoints, *, hypervisor=True, services=()):
    return Header(FORMAT, "system", 1, hypervisor, endpoints, dict(services))


def at(kind, endpoint, x, pe=0, t=0, **more):
    """An event with registers, those behind ``x`` zero."""
    return kind(pe, endpoint, 0, (*x, *[0] * (REGISTERS - len(x))), t=t, **more)


def recording(session):
    """Record a system from now on: what ends that, and gives the lines."""
    sink = io.BytesIO()
    trace = Trace(session.system, sink)
    session.system.attach(trace)

    def end():
        trace.close()
        return [*map(read, sink.getvalue().splitlines())]

    return end
