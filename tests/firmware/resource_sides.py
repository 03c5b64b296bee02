"""Whoever asks by FFA_NS_RES_INFO_GET which of its memory SPs reach."""

from memory_sides import Side

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.resources import parse_resources
from ffabric.abi.words import MASK32
from ffabric.guests.errors import status_of

ALL, ONE, GO_ON = 0, 1, 1 << 4


class Asker(Side):
    """The kernel, or a VM, that asks."""

    def ask(self, flags=ALL, endpoint=0):
        """The part that RX gets, and how much remains."""
        x = self.call(fid.FFA_NS_RES_INFO_GET, endpoint, flags)
        assert x[0] == fid.FFA_SUCCESS_64, status_of(x[2])
        part = self.got(x[2] >> 32)
        self.ffa.rx_release()
        return part, x[2] & MASK32

    def all(self, flags=ALL, endpoint=0):
        """All of it."""
        data, rest = self.ask(flags, endpoint)
        while rest:
            part, rest = self.ask(flags | GO_ON, endpoint)
            data += part
        return parse_resources(data)

    def refused(self, *words):
        """The status of a call that is refused."""
        x = self.ffa.call(fid.FFA_NS_RES_INFO_GET, *words)
        assert x[0] == fid.FFA_ERROR
        assert len(x) == 18
        return status_of(x[2])
