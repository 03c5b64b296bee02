"""The DMA engine of Arm's FVP, as tests drive it."""

from ffabric.machine.devices.smmuv3_test_engine import MEMCPY
from ffabric.system.manifest.manifest import DeviceRegion
from ffabric.system.spec import DeviceSpec, MemoryBank

ENGINE = 0x2BFE_0000
BANKS = (
    MemoryBank("secure", 0x600_0000, 0x200_0000, secure=True),
    MemoryBank("normal", 0x8000_0000, 0x1000_0000, secure=False),
)
DMA = DeviceSpec(type="smmuv3_test_engine", name="dma", base=ENGINE, size=0x10000, secure=None)


def engine(stream=1, attributes=3):
    """The device region of the engine."""
    return DeviceRegion(
        name="engine",
        base_address=ENGINE,
        pages=32,
        attributes=attributes,
        smmu_id=0,
        stream_ids=(stream,),
    )


def copy(memory, source, target, size=8, *, stream=1, secure=True, at=ENGINE):
    """Let the engine copy: what CMD says afterwards, and the address that was refused."""
    memory.write32(at + 0x10000, int(not secure))
    memory.write32(at + 0x10008, stream)
    for offset, value in ((0x28, source), (0x30, source + size - 1), (0x38, 1), (0x40, target)):
        memory.write64(at + offset, value)
    memory.write32(at, MEMCPY)
    return memory.read32(at), memory.read64(at + 0x50)
