"""The affinity that an AArch64 image reads: the number of its vCPU, in an SP."""

import struct

from ffabric.system.description.python import sp, vm

TELL_MPIDR = struct.pack(
    "<17I",
    0xD28010E0,  # mov   x0, #0x0087
    0xF2B88000,  # movk  x0, #0xc400, lsl #16
    0x10FFFFC1,  # adr   x1, . - 8
    0xD4000003,  # smc   #0            FFA_SECONDARY_EP_REGISTER
    0xD2800D60,  # mov   x0, #0x006b
    0xF2B08000,  # movk  x0, #0x8400, lsl #16
    0xD2800004,  # mov   x4, #0
    0xD2800005,  # mov   x5, #0
    0xD2800006,  # mov   x6, #0
    0xD2800007,  # mov   x7, #0
    0xD4000003,  # smc   #0            FFA_MSG_WAIT, FFA_MSG_SEND_DIRECT_RESP
    0x13814021,  # ror   w1, w1, #16
    0xD2800002,  # mov   x2, #0
    0xD53800A3,  # mrs   x3, mpidr_el1
    0xD2800E00,  # mov   x0, #0x0070
    0xF2B08000,  # movk  x0, #0x8400, lsl #16
    0x17FFFFF6,  # b     . - 40
)


def test_vcpus_of_an_sp_are_numbered(ffabric):
    system = ffabric.boot(
        sps=[sp(name="teller", image=TELL_MPIDR, vcpus=6)], vms=[vm("client", vcpus=6)], pes=6
    )
    client = system.vm("client")
    for index, pe in enumerate(system.system.machine.pes):
        if index:
            client.ffa.call(0xC4000003, pe.mpidr, 0x4000_0000, 0)
        answer = client.vcpu(index).direct_request("teller", bits=32)
        assert answer.payload[0] == 1 << 31 | index
