"""Hafnium, as SPMC and as hypervisor: memory management, what retrieves it and gives it back."""

from ffabric.observe.messages.message import messages

BORROW = messages(
    "Hafnium",
    ("Invalid handle {handle} for FFA_MEM_", "No transaction has handle {handle}.", "mem.handle"),
    ("Invalid FF-A memory handle", "No transaction has this handle.", "mem.handle"),
    ("Retrieve request too long", "A retrieve request fits one buffer.", "mem.retrieve.length"),
    (
        "Invalid length for FFA_MEM_RETRIEVE_REQ, expected {expected} but was {found}",
        "The request ends with its last receiver.",
        "mem.retrieve.total_length",
    ),
    (
        "Incorrect transaction type {found} for FFA_MEM_RETRIEVE_REQ, expected {expected}",
        "The type flag says {found}; the memory was sent as {expected}.",
        "mem.retrieve.type",
    ),
    (
        "Incorrect tag {found} for FFA_MEM_RETRIEVE_REQ, expected {expected}",
        "The tag is {found}; the sender's is {expected}.",
        "mem.retrieve.tag",
    ),
    (
        "Incorrect receiver VM ID {endpoint} for FFA_MEM_RETRIEVE_REQ",
        "{endpoint} is none of the receivers.",
        "mem.retrieve.borrower",
    ),
    (
        "Retrieve request does not contain caller's ({endpoint}) permissions",
        "{endpoint} is not in its own request.",
        "mem.retrieve.borrower",
    ),
    (
        "Retrieve request should contain same list of borrowers",
        "The receivers are not the sender's.",
        "mem.retrieve.receivers",
    ),
    (
        "Set bypass multiple borrower check, receiver list must be sized 1",
        "With the bypass flag the caller names itself only.",
        "mem.retrieve.receivers",
    ),
    (
        "Setting the bypass multiple borrower check flag for a transaction with a single borrower",
        "The flag is for several borrowers.",
        "mem.retrieve.flags",
    ),
    (
        "receiver {endpoint} not found in descriptor from the memory sender",
        "{endpoint} was not named by the sender.",
        "mem.retrieve.other_borrower",
    ),
    (
        "Retriever specified address ranges not supported",
        "The relayer chooses the addresses.",
        "mem.retrieve.address_ranges",
    ),
    (
        "address range alignment",
        "The relayer chooses the addresses.",
        "mem.retrieve.alignment_hint",
    ),
    (
        "Bits 31-10 must be zero in memory region's flags",
        "Reserved flags are set.",
        "mem.retrieve.flags",
    ),
    (
        "Receiver has RO permissions can not request clear",
        "Only what it may write is cleared.",
        "mem.retrieve.clear_read_only",
    ),
    (
        "Memory Share operation can't clean after relinquish",
        "Shared memory is not cleared.",
        "mem.retrieve.share_clear",
    ),
    (
        "Borrower needs memory cleared. Sender needs to set flag",
        "The sender did not have it cleared.",
        "mem.retrieve.clear",
    ),
    (
        "Invalid security state for memory retrieve request",
        "The NS bit is zero in a request; the answer tells it.",
        "mem.retrieve.ns_bit",
    ),
    (
        "Invalid data access requested; sender specified permissions {given} but",
        "More is asked for than the {given} that was given.",
        "mem.retrieve.data_access",
    ),
    (
        "Invalid instruction access requested",
        "More is asked for than was given.",
        "mem.retrieve.instruction_access",
    ),
    (
        "for share instruction permissions must NOT be specified",
        "Nobody executes shared memory.",
        "mem.retrieve.instruction_access",
    ),
    (
        "lend/share/donate with multiple borrowers instruction permissions must NOT be specified",
        "With several borrowers nobody executes.",
        "mem.retrieve.instruction_access",
    ),
    (
        "for lend/donate with single borrower instruction permissions must be",
        "The only borrower says X or NX.",
        "mem.retrieve.instruction_access_missing",
    ),
    (
        "X permissions is not permitted in NS memory",
        "An SP does not execute non-secure memory.",
        "mem.retrieve.execute_non_secure",
    ),
    (
        "Impdef value in memory send does not match retrieve request value",
        "The implementation defined word is not the sender's.",
        "mem.retrieve.impdef",
    ),
    (
        "Retrieving device memory as Normal memory is not allowed",
        "The type is not the sender's.",
        "mem.retrieve.attributes",
    ),
    (
        "Memory with handle {handle} not fully sent",
        "Fragments of {handle} are missing.",
        "mem.handle",
    ),
    (
        "Memory with handle {handle} already retrieved by the hypervisor",
        "Once is enough.",
        "mem.retrieve.again",
    ),
    (
        "Invalid transition for retrieve",
        "The borrower has the pages already, or something else is mapped there.",
        "mem.retrieve.again",
    ),
    (
        "VM ID {found} in relinquish message doesn't match calling VM ID {caller}",
        "The descriptor names {found}; {caller} calls.",
        "mem.relinquish.endpoints",
    ),
    (
        "relinquish descriptor must have 1 endpoint",
        "A relinquish names the caller only.",
        "mem.relinquish.endpoints",
    ),
    (
        "Stream endpoints not supported",
        "A relinquish names the caller only.",
        "mem.relinquish.endpoints",
    ),
    (
        "VM ID {endpoint} tried to relinquish memory region with handle {handle}",
        "{endpoint} is no borrower of {handle}.",
        "mem.relinquish.borrower",
    ),
    (
        "Memory with handle {handle} not yet fully retrieved, receiver {endpoint} can't relinquish",
        "{endpoint} has not retrieved {handle}.",
        "mem.relinquish.not_retrieved",
    ),
    (
        "Invalid transition for relinquish",
        "The pages are not borrowed (any more).",
        "mem.relinquish.not_retrieved",
    ),
    (
        "Memory which was shared can't be cleared",
        "Its owner still uses it.",
        "mem.relinquish.share_clear",
    ),
    (
        "RO memory can't use clear memory flag",
        "Only what one may write is cleared.",
        "mem.relinquish.clear_read_only",
    ),
    (
        "VM {caller} attempted to reclaim memory handle {handle} originally sent by VM {owner}",
        "{handle} is memory of {owner}.",
        "mem.reclaim.owner",
    ),
    (
        "Tried to reclaim memory handle {handle} that has not been relinquished by all borrowers",
        "A borrower still has {handle}.",
        "mem.reclaim.retrieved",
    ),
    (
        "FFA_MEM_PERM_{call}: not allowed",
        "An S-EL1 partition has tables of its own.",
        "mem.perm.el0",
    ),
    (
        "FFA_MEM_PERM_{call}: VM {endpoint} is not an EL0 partition",
        "An S-EL1 partition has tables of its own.",
        "mem.perm.el0",
    ),
    (
        "FFA_MEM_PERM_{call}: base addr {address} is not page aligned",
        "{address} is not on a page.",
        "mem.perm.address",
    ),
    ("FFA_MEM_PERM_{call}: page_count was zero", "At least one page.", "mem.perm.page_count"),
    (
        "FFA_MEM_PERM_SET: invalid permissions {found}",
        "{found} has reserved bits, or is W and X.",
        "mem.perm.reserved",
    ),
    (
        "FFA_MEM_PERM_SET: cannot set device memory as executable",
        "No code in device memory.",
        "mem.perm.execute_device",
    ),
    (
        "FFA_MEM_PERM_SET: range {} is not mapped",
        "The pages are not the caller's.",
        "mem.perm.not_owned",
    ),
    (
        "FFA_MEM_PERM_GET: cannot find permission for range",
        "The pages are not the caller's.",
        "mem.perm.not_owned",
    ),
    (
        "Failed to copy FF-A retrieve request descriptor",
        "TX of the caller cannot be read any more.",
        "mem.retrieve.no_buffer",
    ),
    (
        "All fields except the handle in the memory access descriptor must be zero",
        "A hypervisor retrieves with the handle alone.",
        "mem.retrieve.hypervisor_mbz",
    ),
    (
        "Failed to copy FF-A memory relinquish descriptor",
        "TX of the caller cannot be read any more.",
        "mem.relinquish.no_buffer",
    ),
    (
        "Failed to copy FF-A relinquish request",
        "TX of the caller cannot be read any more.",
        "mem.relinquish.no_buffer",
    ),
    (
        "Relinquish message too long. Endpoint count: {count}",
        "The descriptor names {count} endpoints, more than one page holds.",
        "mem.relinquish.endpoints",
    ),
    (
        "Mailbox from {endpoint} is not set",
        "{endpoint} has no RX/TX pair.",
        "mem.retrieve.no_buffer",
    ),
    (
        "Invalid sender.",
        "w4 of a fragment call is zero between a partition and Hafnium.",
        "mem.frag.endpoint",
    ),
    (
        "Tried to relinquish memory in state {state}",
        "The pages are not borrowed as they were retrieved: their mode has changed.",
        "mem.relinquish.not_retrieved",
    ),
    (
        "Support one receiver from the other world",
        "A VM's transaction that the hypervisor passes on has one SP.",
        "mem.relay.receivers",
    ),
    (
        "Memory region marked for deferred reclaim. Denying retrieve",
        "The owner has aborted: nobody retrieves the memory any more.",
        "mem.handle",
    ),
    (
        "aborted the copy of response to RX buffer of {endpoint}",
        "RX of {endpoint} cannot be written any more.",
        "rx.no_buffers",
    ),
    (
        "aborted copying fragment to RX buffer of {endpoint}",
        "RX of {endpoint} cannot be written any more.",
        "rx.no_buffers",
    ),
    (
        "({endpoint}) is not a borrower to memory sharing transaction ({handle})",
        "{endpoint} asks for fragments of {handle}, which it has not begun to retrieve.",
        "mem.frag.endpoint",
    ),
    (
        "Retrieval of memory with handle {handle} not yet started or already completed",
        "There is no next fragment of {handle}.",
        "mem.frag.offset",
    ),
    (
        "Retrieve of memory with handle {handle} not started from hypervisor",
        "A hypervisor asks for fragments that it has not begun to retrieve.",
        "mem.frag.endpoint",
    ),
    (
        "Sender ID ({endpoint}) is not as expected for memory handle {handle}",
        "w4 names {endpoint}, which did not send {handle}.",
        "mem.frag.endpoint",
    ),
    (
        "Unable to find share state for handle {handle}",
        "The hypervisor has not passed on {handle}; the SPMC may know it.",
        "mem.handle",
    ),
    (
        "FFA_MEM_RECLAIM returned an error. Expected FFA_SUCCESS, got {}({status})",
        "The SPMC refused: an SP still has the memory.",
        "mem.reclaim.retrieved",
    ),
)
