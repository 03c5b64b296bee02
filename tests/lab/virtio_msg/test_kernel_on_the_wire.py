"""A kernel that has no hypervisor below it: its messages are seen, and whose they are."""

import pytest

from ffabric import Partition
from ffabric.abi.virtio_msg import ffa as abi
from ffabric.abi.virtio_msg.generations import V2
from ffabric.abi.virtio_msg.message import build
from ffabric.guests.virtio_msg.device.partition import DeviceSide
from ffabric.lab.virtio_msg.conform import run_system
from ffabric.lab.virtio_msg.judges.rules import Side, Verdict
from ffabric.system.description.python import describe
from ffabric.virtio import devices

PROBE = build(abi.VERSION, V2, token=2, bus_version=0, revision=0, ffa_version=0)


class Kernel(Partition):
    """Asks for the version by indirect messages, and runs the SP as its scheduler."""

    async def main(self, ffa):
        await ffa.map_buffers()
        (peer,) = await ffa.partition_info(abi.DEVICE_UUID)
        await ffa.send2(peer.id, PROBE, uuid=abi.DEVICE_UUID)
        await ffa.run(peer.id)
        self.answer = (await ffa.receive()).payload
        while True:
            await ffa.idle()


@pytest.mark.parametrize("answers_to", [str(abi.DEVICE_UUID), abi.DRIVER_UUID])
@pytest.mark.parametrize("hypervisor", [False, True])
def test_the_messages_of_a_kernel_and_their_answers_are_judged(answers_to, hypervisor):
    side, kernel = DeviceSide([devices.RngDevice()], answers_to=answers_to), Kernel("kernel")
    spec = describe(sps=[side], vms=[kernel], hypervisor=hypervisor)
    outcome = run_system(spec, V2)
    assert kernel.answer[:2] == bytes((3, abi.VERSION.id))
    assert outcome.messages == 2
    assert outcome.report.of(Verdict.FAILED) == []
    for side_of in Side:
        assert outcome.report["message.direction", side_of].passed == 1
