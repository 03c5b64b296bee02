"""Guests in QEMU that do what a test tells them (images/puppet.S), a thing at a time."""

from pathlib import Path

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa.version import V1_2
from ffabric.guests.partition import Partition
from ffabric.machine.machine import Stalled
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm
from ffabric.system.spec import KernelBoot

IMAGE = Path(__file__).parents[3] / "images" / "puppet.bin"
COMMANDS = (
    "nothing", "load", "store", "load32", "store32", "execute", "call", "spin", "sleep", "user",
    "translate", "interrupt", "group0", "hypercall", "print", "count",
)  # fmt: skip
UART = 0x0900_0000
RAM = 0x4000_0000
CODE = {n: bytes([n * 0x20, 0, 0x80, 0xD2, 0xC0, 3, 0x5F, 0xD6]) for n in range(1, 8)}
"""A function that returns n: mov x0, #n; ret."""
LIMIT = 60_000_000_000
"""Nanoseconds after which a puppet has failed to come back."""
LOOK = 100_000_000
"""Nanoseconds between two looks whether it is still there, though others keep the run going."""


class Puppeteer(Partition):
    """An SP that holds one CPU of a puppet: what it tells it next comes from the test."""

    def __init__(self, name):
        super().__init__(name)
        self.commands = []
        self.results = []
        self.waits = False
        self.stop = None

    async def on_direct_request(self, request, ffa):
        self.results.append(request.payload)
        self.waits = True
        self.stop()
        while not self.commands:
            await ffa.yield_()
        self.waits = False
        return request.respond(*self.commands.pop(0))


class Result:
    """What came of a command: the `value`, and the last exception the guest took."""

    def __init__(self, payload):
        self.value, self.syndrome, self.far, self.pc, self.exceptions = (*payload, *[0] * 5)[:5]

    @property
    def aborted(self):
        return self.syndrome >> 26 in (0x20, 0x21, 0x24, 0x25)

    @property
    def undefined(self):
        return self.exceptions > 0 and self.syndrome >> 26 == 0


class Cpu:
    """One CPU of a puppet."""

    def __init__(self, puppets, endpoint, puppeteer, index):
        self.system = puppets.system
        self.endpoint = endpoint
        self._puppeteer = puppeteer
        self.index = index

    @property
    def ctx(self):
        return self.endpoint.partition.contexts[self.index]

    def begin(self, what, *arguments):
        """Let it go and do something, and do not wait."""
        self.wait()
        self._puppeteer.results.clear()
        self._puppeteer.commands.append((COMMANDS.index(what), *arguments))

    def wait(self):
        """Let the system run until it has done what it was told: the result."""
        machine = self.system.machine
        clock = machine.clock
        limit = clock.at(clock.now + LIMIT, self._too_long)
        try:
            while not self._puppeteer.waits or self._puppeteer.commands:
                look = clock.at(clock.now + LOOK, machine.stop)
                self.system.run()
                clock.cancel(look)
                if not self._puppeteer.waits and not self.endpoint.partition.alive:
                    raise Stalled(self.endpoint.partition.fate)
        finally:
            clock.cancel(limit)
        return Result(self._puppeteer.results[-1])

    def do(self, what, *arguments):
        """Let it do something."""
        self.begin(what, *arguments)
        return self.wait()

    def call(self, *x, conduit="call"):
        """Let it make a call: x0 to x17 afterwards."""
        words = (*x, *[0] * 18)[:18]
        at = RAM + 0x1F_0000 + self.index * 0x1000
        self.write(at, b"".join(word.to_bytes(8, "little") for word in words))
        self.do(conduit, at)
        data = self.endpoint.memory.read(at, 18 * 8)
        return [int.from_bytes(data[n : n + 8], "little") for n in range(0, len(data), 8)]

    def write(self, ipa, data):
        self.endpoint.memory.write(ipa, data)

    def word(self, ipa):
        return int.from_bytes(self.endpoint.memory.read(ipa, 8), "little")

    def _too_long(self):
        raise TimeoutError(f"{self.endpoint.name} does not come back")


class Puppets:
    """A booted system whose VMs are puppets; ``cpus`` of each, and physical ``places``.

    ``devices_of_vms`` are the device regions that each of them has.
    """

    def __init__(self, *cpus, sps=(), places=(), devices_of_vms=(), **options):
        self.puppeteers = [Puppeteer(f"puppeteer{n}") for n in range(sum(cpus))]
        vms, first = [], 0
        for n, count in enumerate(cpus):
            where = places[n] if places else None
            at = {} if where is None else {"physical_address": where}
            vms.append(self.vm(f"vm{n}", first, count, device_regions=devices_of_vms, **at))
            first += count
        spec = describe(sps=[*self.puppeteers, *sps], vms=vms, stop_on_crash=False, **options)
        self.system = boot(spec)
        for each in self.puppeteers:
            each.stop = self.system.machine.stop
        self.memory = self.system.machine.memory
        puppeteers = iter(self.puppeteers)
        self.cpus = [
            [Cpu(self, self.system.endpoints[f"vm{n}"], next(puppeteers), i) for i in range(count)]
            for n, count in enumerate(cpus)
        ]

    @staticmethod
    def vm(name, first, count, **options):
        """A puppet whose CPUs hang on the SPs from number ``first`` on."""
        image = bytearray(IMAGE.read_bytes())
        image[FIRST_SP : FIRST_SP + 4] = (0x8001 + first).to_bytes(4, "little")
        return vm(
            name=name,
            image=bytes(image),
            engine="qemu",
            kernel=KernelBoot(),
            vcpus=count,
            **options,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.system.close()


FIRST_SP = IMAGE.read_bytes().index((0x8001).to_bytes(4, "little"))


def send(cpu, kind, pages, receivers, *, buffers=RAM + 0x1E_0000):
    """Let it share, lend or donate ``pages`` (IPA, count): the registers that come back."""
    transaction = abi.Transaction(
        sender=cpu.endpoint.id,
        attributes=0 if kind != fid.FFA_MEM_SHARE_64 else 0b10_11_11,
        receivers=[
            abi.Receiver(each, 0 if kind == fid.FFA_MEM_DONATE_64 else 2) for each in receivers
        ],
        total_pages=sum(count for _, count in pages),
        constituents=list(pages),
        range_count=len(pages),
        has_composite=True,
    )
    data = abi.build_transaction(transaction, V1_2)
    cpu.write(buffers, data)
    return cpu.call(kind, len(data), len(data))


def map_buffers(cpu, buffers=RAM + 0x1E_0000):
    """Let it have an RX/TX pair: TX, then RX."""
    assert cpu.call(fid.FFA_RXTX_MAP_64, buffers, buffers + 0x1000, 1)[0] == fid.FFA_SUCCESS_32
