"""Two endpoints of every kind of system, and every field of a descriptor within reach of a test."""

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.words import MASK32, PAGE
from ffabric.guests.errors import FfaError, status_of
from ffabric.system.description.python import sp

RO, RW = mem.PERM_DATA_RO, mem.PERM_DATA_RW
X, NX = mem.PERM_INSTRUCTION_X, mem.PERM_INSTRUCTION_NX
NORMAL = mem.MEM_ATTR_NORMAL_WB_INNER
SHARE, LEND, DONATE = fid.FFA_MEM_SHARE_64, fid.FFA_MEM_LEND_64, fid.FFA_MEM_DONATE_64
KINDS = {"share": SHARE, "lend": LEND, "donate": DONATE}


class Side:
    """An endpoint that a test drives, with its buffers mapped."""

    def __init__(self, handle, *, negotiate=False):
        self.handle = handle
        self.ffa = handle.ffa
        if negotiate:
            self.ffa.negotiate(self.ffa.version)
        self.id = handle.id
        self.memory = handle.memory
        self.version = self.ffa.version
        self.ffa.map_buffers()

    def pages(self, count=1):
        """The IPA of so many fresh pages in a row."""
        return self.handle.ram.allocate(count)

    def call(self, *registers):
        """Any call; FFA_ERROR raises."""
        x = self.ffa.call(*registers)
        if x[0] & MASK32 == fid.FFA_ERROR:
            raise FfaError(status_of(x[2]), registers[0])
        return x

    def put(self, data):
        """Write into TX."""
        self.memory.write(self.ffa.tx, data)

    def got(self, length):
        """Read from RX."""
        return self.memory.read(self.ffa.rx, length)

    def reaches(self, ipa, *, write=False):
        """Whether a load (or store) to the page works."""
        from ffabric.machine.access import DataAbort

        try:
            if write:
                self.memory.write(ipa, self.memory.read(ipa, 1))
            else:
                self.memory.read(ipa, 1)
        except DataAbort:
            return False
        return True

    # Descriptors with any field overruled.

    def describe(self, kind, receivers, ranges, *, rights=None, **fields):
        """A transaction of the kind as it should be, but for ``fields``."""
        several = len(receivers) > 1
        attributes = NORMAL if kind == "share" or (kind == "lend" and several) else 0
        default = 0 if kind == "donate" else RW
        transaction = abi.Transaction(
            sender=self.id,
            attributes=attributes,
            receivers=[
                abi.Receiver(getattr(each, "id", each), default if rights is None else rights)
                for each in receivers
            ],
            constituents=list(ranges),
        )
        for name, value in fields.items():
            setattr(transaction, name, value)
        return transaction

    def send(self, kind, transaction, *, total=None, length=None, x3=0, x4=0, patch=None):
        """Make the call with the descriptor in TX: the handle."""
        data = bytearray(abi.build_transaction(transaction, self.version))
        if patch:
            patch(data)
        self.put(data[:PAGE])
        total = len(data) if total is None else total
        length = total if length is None else length
        return handle_in(self.call(KINDS[kind], total, length, x3, x4), 2)

    def give(self, kind, receivers, ranges, *, rights=None, **fields):
        """Send memory: the handle."""
        return self.send(kind, self.describe(kind, receivers, ranges, rights=rights, **fields))

    def request(self, handle, sender, *, rights=RW, others=(), **fields):
        """A retrieve request as it should be for memory that is shared, but for ``fields``."""
        transaction = abi.Transaction(
            sender=getattr(sender, "id", sender),
            handle=handle,
            receivers=[
                abi.Receiver(self.id, rights),
                *(abi.Receiver(getattr(each, "id", each), rights) for each in others),
            ],
        )
        for name, value in fields.items():
            setattr(transaction, name, value)
        return transaction

    def take(self, transaction, *, total=None, length=None, x3=0, x4=0, patch=None, release=True):
        """Make FFA_MEM_RETRIEVE_REQ with the descriptor in TX: the response, parsed."""
        data = bytearray(abi.build_transaction(transaction, self.version))
        if patch:
            patch(data)
        self.put(data)
        total = len(data) if total is None else total
        length = total if length is None else length
        x = self.call(fid.FFA_MEM_RETRIEVE_REQ_64, total, length, x3, x4)
        assert x[0] == fid.FFA_MEM_RETRIEVE_RESP
        response = abi.parse_transaction(self.got(x[2]), self.version)
        if release:
            self.ffa.rx_release()
        return response

    def retrieve(self, handle, sender, **options):
        """Retrieve: the response."""
        return self.take(self.request(handle, sender, **options))

    def relinquish(self, handle, flags=0, endpoints=None, count=None):
        """Make FFA_MEM_RELINQUISH."""
        ids = [self.id] if endpoints is None else endpoints
        data = bytearray(abi.build_relinquish(abi.Relinquish(handle, flags, ids)))
        if count is not None:
            data[12:16] = count.to_bytes(4, "little")
        self.put(data)
        self.call(fid.FFA_MEM_RELINQUISH)

    def reclaim(self, handle, flags=0):
        """Make FFA_MEM_RECLAIM."""
        self.call(fid.FFA_MEM_RECLAIM, handle & MASK32, handle >> 32, flags)

    def descriptor(self, ipa):
        """The stage-2 descriptor of a page."""
        return self.handle.endpoint.partition.stage2.translate(ipa)


def handle_in(x, at):
    """The handle in two registers of an answer."""
    return x[at] & MASK32 | (x[at + 1] & MASK32) << 32


def scatter(handle, ipa, pages):
    """Give the pages of a VM from ``ipa`` on their physical pages in reverse order."""
    stage2 = handle.endpoint.partition.stage2
    attrs = stage2.runs(ipa, 1)[0][3]
    physical = [stage2.pa_of(ipa + n * PAGE) for n in range(pages)]
    for n, pa in enumerate(reversed(physical)):
        stage2.map(ipa + n * PAGE, pa, 1, attrs)


def exhaust(pool):
    """Take all pages of a pool that are left."""
    taken = []
    while pool.in_use < pool.pages:
        taken.append(pool.alloc())
    return taken


WORLDS = {
    "vm-sp": {"sps": ["b", "c"], "vms": ["a"]},
    "sp-sp": {"sps": [sp("a", mem_size=8 << 20), "b", "c"], "vms": []},
    "vm-vm": {"sps": [], "vms": ["a", "b", "c"]},
    "kernel-sp": {"sps": ["b", "c"], "vms": ["a"], "hypervisor": False},
}


class World:
    """A system in which ``a`` owns memory and ``b`` and ``c`` may borrow it."""

    def __init__(self, ffabric, kind, *, negotiate=False, spec=None, **options):
        self.kind = kind
        described = {} if spec else {**WORLDS[kind], **options}  # type: ignore[dict-item]
        self.session = ffabric.boot(spec, **described)
        self.a, self.b, self.c = (Side(self.find(name), negotiate=negotiate) for name in "abc")

    @property
    def manager(self):
        """The partition manager of ``a``."""
        firmware = self.session.system.firmware
        return firmware.hypervisor if self.kind.startswith("vm") else firmware.spmc

    @property
    def owner_table(self):
        """The stage-2 table that says what ``a`` owns."""
        if self.kind == "kernel-sp":
            return self.session.system.firmware.spmc.normal_world.stage2
        return self.a.handle.endpoint.partition.stage2

    def find(self, name):
        """The handle on a partition."""
        endpoint = self.session.system.endpoint(name)
        return self.session.sp(name) if endpoint.spec.secure else self.session.vm(name)
