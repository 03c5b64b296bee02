"""One Trusty, an application of the host, and one in a protected VM that is started meanwhile."""

import pytest

from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.guests.trusty.binder import Parcel
from ffabric.lab.virtio_msg import android
from ffabric.lab.virtio_msg.android import DIGEST, OPEN, Vault, play

GENERATIONS = pytest.mark.parametrize("generation", [PR28, V2], ids=lambda each: each.name)


@GENERATIONS
def test_each_has_the_service_its_secrets_and_its_memory_for_itself(generation):
    scene = play(generation)
    assert scene.problem == ""
    assert scene.messages > 100
    host, first, second = (done for _, done in scene.acts)
    assert "secret 0 sealed and opened" in host
    assert "secret 1 sealed and opened, secret 0 of another is not opened" in first
    assert "secret 2 sealed and opened, secret 0 of another is not opened" in second
    for done in (host, first, second):
        assert "64 KiB digested by their handle, a page lent, changed there, and back" in done
    for done in (first, second):
        assert "the host does not reach its memory" in done


@pytest.mark.parametrize("code", [OPEN, DIGEST])
def test_a_service_that_does_wrong_is_told_of(monkeypatch, code):
    right = Vault.on_transact

    def wrong(self, channel, asked, parcel, memory):
        if asked != code:
            return right(self, channel, asked, parcel, memory)
        if asked == OPEN:  # for whoever asks
            return Parcel().put_number(1).put_data(self._secrets.kept[parcel.number()][1])
        android._close(memory)
        return Parcel().put_data(bytes(32))

    monkeypatch.setattr(Vault, "on_transact", wrong)
    assert "AssertionError" in play().problem
