"""Log lines of the software people run, one module for each who prints them."""

from ffabric.observe.messages import hafnium, hafnium_borrow, hafnium_send, linux, optee, tfa
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
)
"""Every known log line; the first that matches is meant."""
