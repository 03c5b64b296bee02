"""SP packages of an SPMC that is an image: where its manifest says that they lie.

TF-A's BL2 puts each package where a node of the SPMC's manifest names its UUID, below one that is
compatible with ``arm,sp_pkg``, and there the SPMC finds it (OP-TEE: `fip_sp_init_all`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ffabric.abi.errors import DecodeError
from ffabric.abi.words import PAGE
from ffabric.system.files.dtb import Node, parse_dtb
from ffabric.system.files.package import parse_package
from ffabric.system.options.problems import Problems
from ffabric.system.spec import ImageSource, MemoryMap, PartitionDraft

_COMPATIBLE = "arm,sp_pkg"
KEY = "packages"


def placed(
    partition: PartitionDraft, own: tuple[MemoryMap, ...], problems: Problems
) -> tuple[tuple[int, bytes], ...]:
    """The packages of ``partition``, each with its address; ``own`` is the memory it has.

    A package that cannot be placed is noted, and left out.
    """
    nodes = dict(_nodes(partition.fw_config))
    taken = [(own[0].pa, own[0].pa + _image_size(partition), "its image")]
    result = []
    for number, data in enumerate(partition.packages):
        key = f"{KEY}[{number}]"
        try:
            address = _place(data, nodes)
        except DecodeError as error:
            problems.add(partition.where, key, str(error))
            continue
        end = address + -(-len(data) // PAGE) * PAGE
        if not any(each.pa <= address and end <= each.pa + each.size for each in own):
            message = f"load-address {address:#x}: {len(data):#x} bytes there are not its memory"
            problems.add(partition.where, key, message)
        elif found := [what for start, last, what in taken if start < end and address < last]:
            problems.add(partition.where, key, f"load-address {address:#x}: {found[0]} is there")
        taken.append((address, end, key))
        result.append((address, data))
    return tuple(result)


def _image_size(partition: PartitionDraft) -> int:
    source = partition.source
    return source.image.end if isinstance(source, ImageSource) else 0


def _nodes(fw_config: bytes) -> Iterator[tuple[bytes, Node]]:
    """The nodes of packages in an SPMC's manifest, by the bytes of their UUIDs."""
    try:
        tree = parse_dtb(fw_config)
    except DecodeError:
        return
    for _, node in tree.root.walk():
        if _COMPATIBLE in node.props.get("compatible", b"").decode("ascii", "replace").split("\0"):
            yield from ((each.props.get("uuid", b""), each) for each in node.children)


def _place(package: bytes, nodes: dict[bytes, Node]) -> int:
    """Where the manifest of the SPMC has ``package``; DecodeError: nowhere."""
    uuid = parse_dtb(parse_package(package).manifest).root.props.get("uuid", b"")
    node = nodes.get(uuid)
    if node is None:
        found = f"no node of fw_config below one that is {_COMPATIBLE!r} has it"
        raise DecodeError("uuid", None, uuid.hex(), found)
    address = node.u64("load-address")
    if address % PAGE:
        raise DecodeError("load-address", None, address, "not a multiple of 0x1000")
    return address
