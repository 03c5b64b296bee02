"""Hafnium, as SPMC and as hypervisor: memory management, what sends memory."""

from ffabric.observe.messages.message import messages

SEND = messages(
    "Hafnium",
    (
        "Invalid memory sender ID.",
        "The sender in the descriptor is not the caller.",
        "mem.send.sender",
    ),
    ("No receivers!", "The descriptor names nobody.", "mem.send.no_receiver"),
    ("Receiver count can't be 0", "The descriptor names nobody.", "mem.send.no_receiver"),
    ("Can't share memory with itself", "The sender is one of the receivers.", "mem.send.to_self"),
    (
        "Repeated receiver({endpoint}) in memory send operation",
        "{endpoint} is named twice.",
        "mem.send.receiver_twice",
    ),
    (
        "FFA_MEM_DONATE only supports one recipient",
        "Memory is donated to one receiver.",
        "mem.donate.receivers",
    ),
    (
        "SPMC only supports memory operations to a single SP",
        "Receivers of both worlds are mixed.",
        "mem.send.receiver_world",
    ),
    (
        "Fragment length {length} greater than total length {total}",
        "{length} is more than {total}.",
        "mem.send.length",
    ),
    (
        "Fragment length {length} or total length {total} is not 16-byte aligned",
        "Both are multiples of 16.",
        "mem.send.length",
    ),
    (
        "Fragment length {length} larger than buffer size {size}",
        "The fragment does not fit TX.",
        "mem.send.length",
    ),
    (
        "Fragment length {length} too short (min {least})",
        "It does not hold a descriptor.",
        "abi.malformed_descriptor",
    ),
    (
        "Initial fragment length {length} smaller than header size {size}",
        "The first fragment must hold the header.",
        "abi.malformed_descriptor",
    ),
    (
        "Invalid memory access descriptor size {size}, or receiver offset {offset}, for",
        "The receivers' size or offset is not that of the version the caller negotiated.",
        "abi.malformed_descriptor",
    ),
    (
        "Share too short: got {length} but minimum is {least}",
        "The fragment ends inside the descriptor.",
        "abi.malformed_descriptor",
    ),
    (
        "Invalid length {length} or composite offset {offset}",
        "The total length does not end with the last address range.",
        "mem.send.total_length",
    ),
    (
        "Invalid composite memory region descriptor offset",
        "The composite descriptor lies outside of the fragment or among the receivers.",
        "mem.send.composite_offset",
    ),
    (
        "Composite offset {found} differs from {expected} in index",
        "The receivers do not refer to one composite descriptor.",
        "mem.send.composite_offset",
    ),
    (
        "All ffa_memory_access should point to the same composite memory region offset",
        "The receivers do not refer to one composite descriptor.",
        "mem.send.composite_offset",
    ),
    (
        "Memory can't be cleared while being shared",
        "Shared memory is still used by its owner.",
        "mem.share.clear_flag",
    ),
    ("Invalid flags {flags}.", "Reserved flags are set.", "mem.send.flags"),
    (
        "Reserved value for receiver permissions",
        "3 is no permission.",
        "mem.send.permission_reserved",
    ),
    (
        "Invalid instruction access permissions {found} for sending memory, expected {expected}",
        "The sender leaves instruction access unspecified; it says {found}.",
        "mem.send.instruction_access",
    ),
    (
        "Invalid data access permissions {found} for sharing memory, expected {expected}",
        "To share, the sender says RO or RW; it says {found}.",
        "mem.share.data_access_unspecified",
    ),
    (
        "Invalid data access permissions {found} for lending memory, expected {expected}",
        "To lend, the sender says RO or RW; it says {found}.",
        "mem.lend.data_access_unspecified",
    ),
    (
        "Invalid data access permissions {found} for donating memory, expected {expected}",
        "To donate, the sender leaves data access unspecified; it says {found}.",
        "mem.donate.data_access",
    ),
    (
        "Invalid security state {found} for memory share operation",
        "The NS bit of the attributes is zero when memory is sent.",
        "mem.send.ns_bit",
    ),
    (
        "Invalid memory type {found} for memory share operation",
        "The type is left unspecified to donate, or to lend to one borrower.",
        "mem.lend.type_specified",
    ),
    (
        "Normal Memory: Invalid cacheability {found}, expected {expected}",
        "Normal memory is {expected}; the descriptor says {found}.",
        "mem.send.attributes",
    ),
    (
        "Device Memory: Invalid cacheability {found}, expected {expected}",
        "Device memory is {expected}; the descriptor says {found}.",
        "mem.send.attributes",
    ),
    (
        "Invalid shareability {found}, expected {expected}",
        "Memory is {expected}; the descriptor says {found}.",
        "mem.send.attributes",
    ),
    (
        "Device memory can only be lent to a single borrower",
        "It is not shared or donated.",
        "mem.send.device",
    ),
    (
        "Send device memory as Normal memory is not allowed",
        "The type is not that of the pages.",
        "mem.send.attributes",
    ),
    (
        "Cannot zero memory when the sender",
        "Only memory that one may write is cleared.",
        "mem.send.clear_read_only",
    ),
    (
        "Sender tried to send memory with permissions which required mode",
        "The sender gives more access than it has.",
        "mem.send.permission",
    ),
    (
        "Inconsistent modes.",
        "The pages differ in permissions, type or ownership.",
        "mem.send.mixed_attributes",
    ),
    (
        "constituent memory range {} not mapped with the same mode",
        "The pages differ in permissions, type or ownership.",
        "mem.send.mixed_attributes",
    ),
    (
        "Invalid transition for send",
        "A page is not the sender's own and exclusive: unmapped, sent already, or borrowed.",
        "mem.send.not_owned",
    ),
    (
        "Invalid page count. Addr: {address} page_count: {pages}",
        "The range at {address} has no page, or wraps.",
        "mem.send.empty_range",
    ),
    (
        "Overlapping memory ranges: {a} - {} with {b} - {}",
        "The ranges at {a} and {b} overlap.",
        "mem.send.overlapping_constituents",
    ),
    ("Constituents not aligned", "A range does not start on a page.", "mem.send.unaligned_base"),
    ("addresses not page-aligned", "A range does not start on a page.", "mem.send.unaligned_base"),
    (
        "Composite page count differs from calculated page count from constituents",
        "The total page count is not the sum over the ranges.",
        "mem.send.page_count",
    ),
    ("Fragmentation not supported", "This call takes one fragment.", "mem.send.length"),
    ("TX buffer not setup", "The caller has no RX/TX pair.", "mem.send.no_buffer"),
    (
        "Invalid handle {handle} for memory send continuation",
        "No transaction {handle} is in pieces.",
        "mem.frag.handle",
    ),
    (
        "Sending of memory handle {handle} is already complete",
        "A fragment too many.",
        "mem.frag.handle",
    ),
    (
        "Fragment length {length} misaligned",
        "A fragment holds whole address ranges.",
        "mem.frag.length",
    ),
    (
        "Fragment offset was {found} but expected {expected}",
        "The offset is not where the last fragment ended.",
        "mem.frag.offset",
    ),
    (
        "Failed to allocate share state",
        "Hafnium holds as many transactions as it can.",
        "abi.no_memory_for_tables",
    ),
    (
        "Memory region reserved arguments must be zero",
        "w3 and w4 are for a buffer of the caller's own, which Hafnium does not take.",
        "mem.send.dynamic_buffer",
    ),
    (
        "Unsupported FF-A version {version}",
        "The caller's version has no layout for this descriptor.",
        "abi.malformed_descriptor",
    ),
    (
        "Translation of FF-A v1.0 descriptors for over {size} is unsupported",
        "A caller of v1.0 sends a descriptor that is larger than one page.",
        "mem.send.length",
    ),
    (
        "Failed to allocate memory region copy",
        "Hafnium has no page for the descriptor: its heap is used up.",
        "abi.no_memory_for_tables",
    ),
    (
        "Failed to copy FF-A memory region descriptor",
        "TX of the caller cannot be read any more.",
        "mem.send.no_buffer",
    ),
    (
        "Failed to allocate fragment copy",
        "Hafnium has no page for the fragment: its heap is used up.",
        "abi.no_memory_for_tables",
    ),
    ("Failed to copy fragment", "TX of the caller cannot be read any more."),
    ("Invalid fragment length {length}", "The fragment does not fit TX.", "mem.frag.length"),
    (
        "Fragment length {length} exceeds the hypervisor<->SPMC forwarding limit of {limit}",
        "The hypervisor passes on descriptors of one page.",
        "mem.send.length",
    ),
    (
        "failed to forward memory send message to other world: {status}",
        "The SPMC refused: its own log says why.",
    ),
    (
        "failed to complete memory send: {status}",
        "The SPMC took the memory, and the hypervisor's tables did not.",
    ),
    (
        "failed to allocate share state",
        "Hafnium holds as many transactions as it can.",
        "mem.too_many_regions",
    ),
    (
        "failed to forward to other world: {status}",
        "The SPMC refused a fragment: its own log says why.",
    ),
    (
        "other_world didn't successfully complete memory send operation; returned {function}",
        "The SPMC refused the last fragment; what was sent is the sender's again.",
    ),
    (
        "Receiver count must be 0 < receiver_count < {limit}",
        "None, or too many.",
        "mem.send.receivers",
    ),
    ("no constituents", "The composite descriptor has no address range.", "mem.send.empty_range"),
    (
        "Reserved fields must be 0",
        "A reserved field of the descriptor is set.",
        "abi.malformed_descriptor",
    ),
    (
        "Composite offset memory region descriptor offset must be 0 for retrieve requests",
        "A retrieve request has no address ranges.",
        "mem.retrieve.address_ranges",
    ),
    (
        "Reserved field in the memory access descriptor must be zero",
        "A reserved field of a receiver's descriptor is set.",
        "abi.malformed_descriptor",
    ),
    (
        "Fragment not properly aligned",
        "A fragment starts inside an address range.",
        "mem.frag.length",
    ),
    (
        "expected mode {expected} but was {found} for {pages} pages at {address}",
        "The pages at {address} are not as the first ones: permissions, type or ownership.",
        "mem.send.mixed_attributes",
    ),
    (
        "Region is outside of PA Range",
        "An address is beyond physical memory.",
        "mem.send.range_end",
    ),
    (
        "Couldn't clear constituents",
        "Hafnium cannot map the pages to zero them: its heap is used up.",
        "abi.no_memory_for_tables",
    ),
    (
        "memory can't be mapped to {endpoint} due to lack of memory",
        "Hafnium's heap is used up.",
        "abi.no_memory_for_tables",
    ),
    (
        "failed to send check update: {status}",
        "The pages cannot be sent; the line before says why.",
    ),
    (
        "Initial fragment length {length} smaller than mailbox",
        "A first fragment fills TX unless it is the only one.",
        "mem.frag.length",
    ),
    (
        "Invalid sender {endpoint}",
        "The fragment's sender is not the transaction's.",
        "mem.frag.endpoint",
    ),
    (
        "Too many fragments for memory share with handle {handle}",
        "The descriptor of {handle} is in more pieces than Hafnium keeps.",
        "mem.too_many_fragmented",
    ),
)
