"""An SP in QEMU against the same under Unicorn, and the memory that a VM in QEMU takes.

The SP is an image that counts down from what it is asked, and answers: calls as short or as long as
one likes.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter

from ffabric.abi.ffa import functions as fid
from ffabric.lab.bench.benchmark import MIB, MICROSECONDS, MILLISECONDS, Benchmark, Rig
from ffabric.lab.bench.images import SMC, B, load, repeat
from ffabric.machine.engines.qemu.process import find_program
from ffabric.session.booting import boot as open_session
from ffabric.system.booting.boot import boot
from ffabric.system.description.fields import Engine
from ffabric.system.description.python import describe, sp, vm
from ffabric.system.spec import QEMU, KernelBoot

SHORT, LONG = 1, 3_000_000
"""Turns of the SP's loop, of two instructions."""
_SWAP_W1 = 0x1381_4021  # ror w1, w1, #16
_SUBS_X3, _BNE_BACK = 0xF100_0463, 0x54FF_FFE1
_WFI = 0xD503_207F
_VMS = (1, 4)
_AWHILE = 300_000_000


def _counter() -> bytes:
    """Wait; then for ever: count x3 of the request down, respond."""
    wait = [*load(0, fid.FFA_MSG_WAIT), *(word for n in range(1, 8) for word in load(n, 0)), SMC]
    serve = [_SWAP_W1, _SUBS_X3, _BNE_BACK, *load(0, fid.FFA_MSG_SEND_DIRECT_RESP_64)]
    serve += [*load(2, 0), *load(3, 0), SMC]
    code = [*wait, *serve, B | -len(serve) & 0x3FFFFFF]
    return struct.pack(f"<{len(code)}I", *code)


def requests(engine: Engine, turns: int) -> Rig:
    """A driven VM asks the SP, again and again; a unit of work is a request."""
    if engine == QEMU:
        find_program()
    servant = sp(name="counter", image=_counter(), engine=engine)
    session = open_session(sps=[servant], vms=["client"])
    ask = partial(session.vm("client").ffa.direct_request, "counter", turns)

    def work(count: int) -> float:
        start = perf_counter()
        for _ in range(count):
            ask()
        return perf_counter() - start

    return Rig(work, session.system)


def memory(vms: int) -> Rig:
    """What the QEMUs of idle VMs take, their share of what is shared: bytes a VM."""
    find_program()
    image = struct.pack("<2I", *repeat([_WFI]))
    names = [f"vm{n}" for n in range(vms)]

    def work(_: int) -> float:
        guests = [
            vm(name, image=image, engine=QEMU, kernel=KernelBoot(), mem_size=4 << 20)
            for name in names
        ]
        with boot(describe(vms=guests)) as system:
            system.machine.clock.at(_AWHILE, system.machine.stop)
            system.run()
            taken = 0
            for name in names:
                guest = system.endpoints[name].guest
                assert guest is not None
                taken += _share(guest.process.pid)
            return taken / vms

    return Rig(work)


def _share(pid: int | None) -> int:
    """The proportional set size of a process, in bytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


BENCHMARKS = (
    *(
        Benchmark(
            name=f"sp.{name}.{engine}",
            what=f"direct request to an SP image ({engine}) of {2 * turns:,} instructions",
            unit=unit,
            setup=partial(requests, engine, turns),
        )
        for name, turns, unit in (("short", SHORT, MICROSECONDS), ("long", LONG, MILLISECONDS))
        for engine in ("unicorn", QEMU)
    ),
    *(
        Benchmark(
            name=f"qemu.memory.{vms}",
            what=f"memory of the QEMU of a VM, of {vms} that idle: its share of all",
            unit=MIB,
            setup=partial(memory, vms),
        )
        for vms in _VMS
    ),
)
