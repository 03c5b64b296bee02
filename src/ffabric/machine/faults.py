"""A fault of stage 2, as an engine tells it to the exception level above."""

import msgspec

FETCH = "fetch"
"""`Fault.kind` of an instruction abort."""

DATA = "data"
"""`Fault.kind` of a data abort."""


class Fault(msgspec.Struct, frozen=True):
    """A stage-2 fault (Arm ARM DDI 0487, D17.2.37 ESR_EL2, D17.2.65 HPFAR_EL2).

    `kind` is `FETCH` or `DATA`; `ipa` is the faulting intermediate physical address, exact to the
    byte; `va` the virtual address (FAR_EL2); `write` is True for a store; `syndrome` the ESR_EL2
    value; `pc` the address of the instruction (ELR_EL2).
    """

    kind: str
    ipa: int
    va: int
    write: bool
    syndrome: int
    pc: int
