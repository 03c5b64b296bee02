"""A message has the header of another version than its receiver's."""

from __future__ import annotations

from ffabric.abi.ffa import messages
from ffabric.abi.ffa.version import V1_1
from ffabric.firmware.manager.messages import indirect
from ffabric.lab.faults.fault import Edit, Fault
from ffabric.lab.faults.stage import Stage, let_go
from ffabric.system.description.python import sp


def scenario(stage: Stage) -> None:
    """The calls that show it."""
    system = stage.boot(sps=[sp("b", ffa_version="1.1", messaging_method=7)], vms=["a"])
    a, b = stage.side(system, "a"), stage.side(system, "b")
    let_go(lambda: a.ffa.send2(b.id, b"hello"))
    assert int.from_bytes(b.got(12)[8:], "little") == messages.header_size(V1_1)


FAULT = Fault(
    __name__,
    "Linux, Fix struct ffa_indirect_msg_hdr (2025)",
    scenario,
    Edit(
        indirect.deliver,
        "build_message(message, target.version)",
        "build_message(message, pm.version)",
    ),
)
