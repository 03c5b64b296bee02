"""The GICv3 interrupt controller (Arm IHI 0069)."""

from ffabric.machine.gic.cpu_interface import NAMES, SPURIOUS, SYSTEM_REGISTERS
from ffabric.machine.gic.distributor import Distributor
from ffabric.machine.gic.gic import SPIS, Gic
from ffabric.machine.gic.interrupts import (
    EXTENDED_PPIS,
    EXTENDED_SPIS,
    FIRST_SPI,
    GROUP0,
    GROUP1NS,
    GROUP1S,
    SPI_RANGES,
    InterruptBank,
    State,
    is_private,
    is_spi,
)
from ffabric.machine.gic.redistributor import RedistributorRegion
from ffabric.machine.gic.setup import DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE, SECURE_SGIS, set_up

__all__ = [
    "DISTRIBUTOR_SIZE",
    "EXTENDED_PPIS",
    "EXTENDED_SPIS",
    "FIRST_SPI",
    "GROUP0",
    "GROUP1NS",
    "GROUP1S",
    "NAMES",
    "REDISTRIBUTOR_SIZE",
    "SECURE_SGIS",
    "SPIS",
    "SPI_RANGES",
    "SPURIOUS",
    "SYSTEM_REGISTERS",
    "Distributor",
    "Gic",
    "InterruptBank",
    "RedistributorRegion",
    "State",
    "is_private",
    "is_spi",
    "set_up",
]
