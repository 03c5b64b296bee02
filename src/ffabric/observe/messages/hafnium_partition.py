"""Hafnium: what a partition does besides calls, and how it ends or is replaced, as of July 2026."""

from ffabric.observe.messages.message import messages

PARTITION = messages(
    "Hafnium",
    # traps and aborts
    (
        "Unsupported debug system register {access}: op0={op0}, op1={op1}, crn={crn}, crm={crm}",
        "A partition {access} a debug register that Hafnium keeps for itself: Unknown Reason.",
    ),
    (
        "Unsupported timer register {access}: op0={op0}, op1={op1}, crn={crn}, crm={crm}",
        "A partition {access} a register of a timer that it has not got: Unknown Reason.",
    ),
    (
        "Unsupported feature ID register {access}: op0={op0}, op1={op1}, crn={crn}, crm={crm}",
        "A partition {access} an ID register that Hafnium does not show: Unknown Reason.",
    ),
    (
        "Unsupported performance monitor register {access}: op0={op0}, op1={op1}, crn={crn}",
        "A partition {access} a register of the PMU, which it has not got: Unknown Reason.",
    ),
    (
        "Trapped access to system register {name}: op0={op0}, op1={op1}, crn={crn}, crm={crm}",
        "A partition touched {name}, which is not for it.",
    ),
    (
        "Injecting Instruction Abort exception into VM {endpoint}",
        "{endpoint} executed at an address that is not mapped executable for it.",
    ),
    (
        "Injecting Unknown Reason exception into VM {endpoint}",
        "{endpoint} executed what is undefined for it; its own vector is entered.",
    ),
    (
        "Unknown lower sync exception pc={pc}, esr={esr}, ec={ec}",
        "A partition took an exception at {pc} that Hafnium does not handle.",
    ),
    ("Instruction abort on EL0 partition", "An S-EL0 partition executed what it may not."),
    (
        "Unexpected HVC Trap on EL0 partition",
        "An S-EL0 partition used HVC; its conduit is SVC.",
    ),
    (
        "Unexpected system register access by EL0 partition",
        "An S-EL0 partition touched a system register and is aborted.",
    ),
    (
        "Granule Protection Fault: esr={esr}, ec={ec}, far={address}",
        "{address} belongs to another world (Realm, Root): a sender kept it, or moved it away.",
    ),
    ("GPF due to data abort on {what}", "The granule of {what} went to another world."),
    (
        "Data abort due to synchronous tag check fault: pc={pc}",
        "A memory tag does not fit its pointer.",
    ),
    (
        "Data abort: pc={pc}, esr={esr}, ec={ec}, far={address}",
        "Hafnium itself touched {address}, which it cannot reach.",
    ),
    ("SError from a lower exception level", "A partition's access had an external abort."),
    (
        "Stage-2 page fault with invalid IPA: pc={pc}, vmid={endpoint}, vcpu={vcpu}",
        "{endpoint} touched an address beyond its address space.",
    ),
    ("Delegating Group0 interrupt to SPMD", "An interrupt of EL3 arrived while an SP ran."),
    ("System off failed", "PSCI SYSTEM_OFF of the primary VM came back."),
    ("System reset failed", "PSCI SYSTEM_RESET of the primary VM came back."),
    ("CPU off failed", "PSCI CPU_OFF of the primary VM came back."),
    # interrupts
    (
        "Illegal target PE index specified while reconfiguring interrupt {intid}",
        "HF_INTERRUPT_RECONFIGURE names a PE that does not exist.",
    ),
    (
        "Illegal target PE index specified by current UP SP",
        "An SP with one execution context routes interrupts to the PE that it runs on.",
    ),
    (
        "Illegal value {value} specified while reconfiguring interrupt {intid}",
        "HF_INTERRUPT_RECONFIGURE: {value} is no value of this command.",
    ),
    (
        "Interrupt reconfigure: Unsupported command {command}",
        "HF_INTERRUPT_RECONFIGURE has no command {command}.",
    ),
    (
        "Interrupts belonging to SP {endpoint} disabled",
        "{endpoint} has ended; its device's interrupts are masked.",
    ),
    (
        "SP is waiting, SRI delayed due to interrupt. Partition {endpoint}, vcpu {vcpu}",
        "The normal world is told of the interrupt at the next switch to it.",
    ),
    (
        "Partition entry to wait. Interrupts pending. Send SRI",
        "An SP waits with interrupts pending: sri-interrupts-policy bit 1.",
    ),
    (
        "Pending interrupt {intid}, intercepting FF-A call",
        "The call returns FFA_INTERRUPT: {intid} is handled first.",
    ),
    (
        "Exhausted interrupt queue for vCPU {vcpu} of SP {endpoint}",
        "{endpoint} has more secure interrupts waiting than its queue holds.",
    ),
    (
        "Secure interrupt cannot be signaled to target SP",
        "The SP that owns the interrupt is in no state to take it; Hafnium stops itself.",
    ),
    ("Invalid vCPU {vcpu} for IPI", "HF_INTERRUPT_SEND_IPI names a vCPU that does not exist."),
    ("invalid interrupt ID", "HF_INTERRUPT_INJECT or _ENABLE names an id that does not exist."),
    # the end of a partition
    ("Aborting SP {endpoint} from vCPU {vcpu}", "{endpoint} ended its initialisation in error."),
    (
        "Propagating fatal error to SPMD through FFA_ABORT",
        "An SP's abort-action asks for it: the whole system stops.",
    ),
    ("Ready to restart vcpu of SP:{endpoint}", "{endpoint} aborted; abort-action restarts it."),
    ("Successfully restarted vCPU of SP: {endpoint}", "{endpoint} runs again from its start."),
    (
        "Illegal Runtime Model specified by SP{endpoint} on CPU{pe}",
        "{endpoint} is in no runtime model: it called before it was entered in order.",
    ),
    ("Attempt to reiniatize the partition", "A partition is loaded anew after its abort."),
    (
        "Unable to re-initialize Secure Partition: {endpoint}",
        "{endpoint} stays aborted: its image or memory cannot be set up again.",
    ),
    ("Secure Partition {endpoint} re-initialized", "{endpoint} is as at boot again."),
    (
        "Partition {endpoint} vCPU {vcpu}: transition from {old} to {new} failed",
        "A life cycle transition that FF-A 1.3 does not have: {old} to {new}.",
    ),
    (
        "Partition {endpoint} transition from {old} to {new} failed",
        "A life cycle transition that FF-A 1.3 does not have: {old} to {new}.",
    ),
    (
        "FFA_ABORT ABI supported only for v1.3 compliant SPs",
        "The caller negotiated a version before 1.3.",
        "abi.newer_than_negotiated",
    ),
    (
        "Parameters passed through registers X1 and X3-X7 must be zero",
        "FFA_ABORT has reserved registers.",
        "abi.reserved_registers_mbz",
    ),
    (
        "could not relinquish handle {handle} on behalf of aborting partition {endpoint}",
        "{endpoint} aborted while it had {handle}; the owner does not get it back.",
    ),
    (
        "Hafnium unable to reclaim",
        "Memory that an aborting partition had sent is still retrieved by a borrower.",
        "mem.reclaim.retrieved",
    ),
    # power management
    (
        "Found SP subscribed to PSCI CPU_OFF message: {endpoint}",
        "{endpoint} is asked before the PE goes off: bit 0 of power-management-messages.",
    ),
    ("SP{endpoint} turned OFF on CPU{pe}", "{endpoint} agreed; its execution context is off."),
    (
        "SPMC turned off vCPU{vcpu} of SP{endpoint}",
        "The PE goes off, and {endpoint} is not subscribed to the message.",
    ),
    (
        "FF-A PSCI framework message not handled {}",
        "The SPMD passed on a power management message that the SPMC does not know.",
    ),
    (
        "denied CPU_OFF power management operation",
        "An SP answered the message with a status that is not SUCCESS.",
    ),
    # live activation
    (
        "Invalid ID specified for SP live activation",
        "There is no SP with the id of the start request.",
    ),
    (
        "Invalid physical address specified for new SP instance",
        "The new image is at 0, or not on a page.",
    ),
    ("Invalid page count specified for new SP instance", "The new image has no pages."),
    ("Target partition not discoverable", "The SP has never run, or has ended."),
    (
        "Target partition does not support live activation",
        "Its manifest lacks live-activation-support.",
    ),
    (
        "Target endpoint does not support live activation",
        "Its manifest lacks live-activation-support.",
    ),
    (
        "Live activation not supported for MP SP",
        "Only an SP with one execution context is replaced while it is in use.",
    ),
    (
        "Repeated live activation start request denied",
        "A start request came for an SP whose replacement has begun.",
    ),
    ("SPMC busy with Live activation", "Another SP is being replaced."),
    ("Target partition's vCPU in aborted state", "The SP that is to be replaced has aborted."),
    ("Target partition's vCPU in NULL state", "The SP that is to be replaced does not run."),
    (
        "Target partition's vCPU not available",
        "The SP serves a request: the start request is made again later.",
    ),
    ("Invalid target endpoint specified", "A finish request names no SP."),
    ("Target endpoint aborting", "The SP that is to be replaced is ending."),
    (
        "Target endpoint/SPMC not in a state to handle LFA",
        "A finish request without a start request of the same SP and sender.",
    ),
    (
        "Illegal values specified by SP {endpoint} for live state buffer",
        "{endpoint} answers with a buffer other than that of its manifest.",
    ),
    (
        "New instance size {size} exceeds MAX allowed size {limit}",
        "The new image has {size} bytes; the SP's memory has {limit}.",
    ),
    (
        "image size {size} > staging {limit}",
        "The new package says {size} bytes; {limit} were handed over.",
    ),
    ("partition_pkg_init failed", "The new instance is no valid package."),
    ("manifest incompatible", "The new instance's manifest differs in what must stay the same."),
    ("invalid FDT", "The new instance's manifest is no device tree."),
    (
        "SP{endpoint} stopped for purpose of live activation",
        "{endpoint} has handed over its state and is replaced next.",
    ),
    (
        "SP failed live activation. Put in aborted state",
        "The new instance did not end its initialisation with FFA_MSG_WAIT.",
    ),
    (
        "SP{endpoint} failed to handle partition stop request",
        "{endpoint} answered the framework message with an error.",
    ),
)
