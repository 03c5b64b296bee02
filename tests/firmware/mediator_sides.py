"""Two VMs with an OP-TEE beneath them that says what it gets, and does what it is told."""

from ffabric.abi.optee import message as m
from ffabric.abi.optee import smc
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.trusted_os import TrustedOs
from ffabric.system.description.python import trusted_os, vm

THREAD = 5


class Tee(TrustedOs):
    """Answers a message with what ``serve`` makes of it; keeps each call and each message.

    ``rpcs`` are (a0, a1, a2) that the next calls return with before they are served, in a thread
    that is named behind them if it is another one.
    """

    name = "tee"
    room = 2

    def __init__(self):
        self.calls = []
        self.messages = []
        self.guests = set()
        self.rpcs = []
        self.message = 0
        self.serve = lambda message: None

    async def on_call(self, x, vcpu):
        self.calls.append(x)
        handler = self._fast.get(x[0])
        if handler is not None:
            return handler(self, x)
        if x[0] == smc.CALL_WITH_ARG:
            self.message = x[1] << 32 | x[2]
        return self._go_on(vcpu)

    def _go_on(self, vcpu):
        if self.rpcs:
            return (*self.rpcs.pop(0), THREAD)[:4]
        message = m.parse_message(vcpu.memory.read(self.message, PAGE), registered=True)
        self.messages.append(message)
        self.serve(message)
        vcpu.memory.write(self.message, m.build_message(message))
        return (smc.Return.OK, 0, 0, 0)

    def _created(self, x):
        if len(self.guests) == self.room:
            return (smc.Return.ENOTAVAIL, 0, 0, 0)
        self.guests.add(x[1])
        return (smc.Return.OK, 0, 0, 0)

    def _destroyed(self, x):
        self.guests.discard(x[1])
        return (smc.Return.OK, 0, 0, 0)

    def _capabilities(self, x):
        return (smc.Return.OK, smc.Capabilities.defined(), 0, 8)

    _fast = {  # noqa: RUF012
        smc.VM_CREATED: _created,
        smc.VM_DESTROYED: _destroyed,
        smc.EXCHANGE_CAPABILITIES: _capabilities,
        smc.CALLS_UID: lambda self, x: smc.MESSAGE_UID,
        smc.DISABLE_SHM_CACHE: lambda self, x: (smc.Return.OK, 0, 0x77, 0),
    }


class Vm:
    """A VM that a test drives."""

    def __init__(self, handle):
        self.handle = handle
        self.ffa = handle.ffa
        self.memory = handle.memory
        self.id = handle.id
        self.stage2 = handle.endpoint.partition.stage2

    def page(self, data=b""):
        """The IPA of a fresh page that begins with ``data``."""
        ipa = self.handle.ram.allocate(1)
        self.memory.write(ipa, data)
        return ipa

    def pages(self, count):
        """The IPA of so many fresh pages in a row."""
        return self.handle.ram.allocate(count)

    def pa(self, ipa):
        """The physical address."""
        return self.stage2.pa_of(ipa)

    def smc(self, *registers):
        """a0 to a3 after a call."""
        return self.ffa.call(*registers)[:4]

    def call(self, at):
        """CALL_WITH_ARG of the message at ``at``: a0."""
        return self.smc(smc.CALL_WITH_ARG, at >> 32, at & MASK32)[0]

    def resume(self, a1=0, a2=0, thread=THREAD, a4=0, a5=0):
        """RETURN_FROM_RPC: a0."""
        return self.smc(smc.RETURN_FROM_RPC, a1, a2, thread, a4, a5)[0]

    def put(self, *params, command=m.Command.INVOKE_COMMAND, **fields):
        """Write a message: its IPA."""
        return self.page(m.build_message(m.Message(command, params=params, **fields)))

    def got(self, at):
        """Read a message."""
        return m.parse_message(self.memory.read(at, PAGE), registered=True)

    def page_list(self, addresses):
        """Write a page list in pages of its own: its IPA."""
        pages = [self.page() for _ in range(max(1, -(-len(addresses) // m.LIST_ENTRIES)))]
        for at, data in zip(pages, m.build_page_list(addresses, pages), strict=True):
            self.memory.write(at, data)
        return pages[0]


class World:
    """The system, booted."""

    def __init__(self, ffabric, vms=("alice", "bob"), *, tee=None, **given):
        self.tee = tee or Tee()
        self.session = ffabric.boot(
            vms=[vm(each, mem_size=16 << 20) if isinstance(each, str) else each for each in vms],
            trusted_os=trusted_os(self.tee, vcpus=4, **given),
            pes=4,
        )
        self.system = self.session.system
        self.hypervisor = self.system.hypervisor
        self.system.run()
        self.alice = Vm(self.session.vm("alice"))
        self.bob = Vm(self.session.vm("bob"))

    @property
    def taken(self):
        """Pages that shadows take."""
        return sum(each.guest.pages for each in self.hypervisor.mediator.clients.values())

    def refused(self, rule):
        """How often a rule has refused."""
        return self.system.refusals.get(rule, 0)
