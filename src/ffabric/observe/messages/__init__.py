"""Log lines of the software people run, one module for each who prints them."""

from ffabric.observe.messages import (
    boot,
    hafnium,
    hafnium_borrow,
    hafnium_send,
    linux,
    optee,
    tfa,
    xen,
)
from ffabric.observe.messages.message import Message

MESSAGES: tuple[Message, ...] = (
    *linux.ARM_FFA,
    *linux.OPTEE,
    *optee.CLIENTS,
    *optee.OPTEE,
    *hafnium_send.SEND,
    *hafnium_borrow.BORROW,
    *hafnium.HAFNIUM,
    *tfa.SPMD,
    *optee.SPMC,
    *tfa.SPMC,
    *xen.XEN,
    *boot.U_BOOT,
    *boot.EDK2,
)
"""Every known log line; the first that matches is meant."""
