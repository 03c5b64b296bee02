"""Without a hypervisor: in whose name a kernel may call, at EL1 and at EL2."""

from contextlib import suppress

import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa import memory as abi
from ffabric.abi.ffa import memory_words as mem
from ffabric.abi.ffa.messages import Message, build_message
from ffabric.abi.ffa.rxtx import EndpointBuffers, build_endpoint_buffers
from ffabric.abi.ffa.version import LATEST
from ffabric.guests.errors import FfaError, status_of
from ffabric.session.ffa import Blocked
from ffabric.system.description.python import vm

VM = 5


@pytest.fixture(params=[1, 2])
def kernel(request, ffabric):
    """A kernel at EL1, and one at EL2, which may be a hypervisor."""
    system = ffabric.boot(sps=["s"], vms=[vm("k", el=request.param)], hypervisor=False)
    kernel = system.vm("k")
    kernel.level = request.param
    kernel.ffa.map_buffers()
    kernel.sp = system.sp("s").id
    return kernel


def put(kernel, data):
    kernel.memory.write(kernel.ffa.tx, data)


def request(kernel):
    return fid.FFA_MSG_SEND_DIRECT_REQ_64, VM << 16 | kernel.sp


def request2(kernel):
    return fid.FFA_MSG_SEND_DIRECT_REQ2, VM << 16 | kernel.sp


def message(kernel):
    put(kernel, build_message(Message(VM, kernel.sp), LATEST))
    return fid.FFA_MSG_SEND2, VM << 16


def share(kernel):
    data = abi.build_transaction(
        abi.Transaction(
            sender=VM,
            attributes=mem.MEM_ATTR_NORMAL_WB_INNER,
            receivers=[abi.Receiver(kernel.sp, mem.PERM_DATA_RW)],
            constituents=[(kernel.ram.allocate(), 1)],
        ),
        LATEST,
    )
    put(kernel, data)
    return fid.FFA_MEM_SHARE_64, len(data), len(data)


def map_buffers(kernel):
    rx, tx = ([(kernel.ram.allocate(), 1)] for _ in range(2))
    put(kernel, build_endpoint_buffers(EndpointBuffers(VM, rx, tx)))
    return (fid.FFA_RXTX_MAP_64,)


def create_bitmaps(kernel):
    return fid.FFA_NOTIFICATION_BITMAP_CREATE, VM, 1


def set_notification(kernel):
    return fid.FFA_NOTIFICATION_SET, VM << 16 | kernel.sp, 0, 1


CALLS = {
    "direct.req.sender": (request, request2),
    "message.sender": (message,),
    "mem.share.sender": (share,),
    "rxtx.map.vm_id": (map_buffers,),
    "notification.bitmap.vm": (create_bitmaps,),
    "notification.set.sender": (set_notification,),
}


@pytest.mark.parametrize(
    ("rule", "make"), [(rule, make) for rule, makes in CALLS.items() for make in makes]
)
def test_only_a_kernel_at_el2_speaks_for_vms(ffabric, kernel, rule, make):
    def call():
        function, *rest = make(kernel)
        x = kernel.ffa.call(function, *rest)
        if x[0] == fid.FFA_ERROR:
            raise FfaError(status_of(x[2]), function)

    if kernel.level == 1:
        with ffabric.refuses(rule):
            call()
        return
    with suppress(Blocked, FfaError):  # the SP has control, or another rule refuses
        call()
    assert rule not in kernel.endpoint.system.refusals


def test_the_kernel_speaks_for_itself(kernel):
    with pytest.raises(Blocked):
        kernel.ffa.direct_request("s")
