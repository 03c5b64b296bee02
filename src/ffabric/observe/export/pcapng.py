"""The calls of a trace as a capture file for Wireshark, and the dissector that reads its packets.

The file is pcapng (draft-ietf-opsawg-pcapng): an interface for each PE, time in nanoseconds, and
with each packet a comment that says what `ffabric trace` says. A packet is a call or an answer, of
link type USER0 (147), little-endian:

======  ==================================================================================
offset  field
======  ==================================================================================
0       u8: version of this layout, 1
1       u8: 0, a call; 1, an answer; 2, a call of the normal world that reaches the SPMC; 3,
        an entry of a trusted OS
2       u8: 1 for the secure world, 0 for the normal world
3       u8: count of the registers, 18
4       u16: endpoint id; 0xffff: none
6       u16: vCPU
8       u16: bytes of the endpoint's name
10      u16: bytes that the call reads from TX
12      u64 each: x0 to x17
156     the name (UTF-8), then the bytes from TX
======  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from string import Template
from struct import Struct, pack
from typing import IO, Final

from ffabric.abi.ffa.calls import SIBLINGS
from ffabric.abi.ffa.functions import FUNCTIONS, KNOWN_BY_NAME
from ffabric.abi.ffa.registers import Arg
from ffabric.abi.ffa.status import Status
from ffabric.abi.smccc import is_smc64
from ffabric.abi.virtio_msg import bus, ffa, transport
from ffabric.abi.virtio_msg.body import MessageType
from ffabric.firmware.state.events import Enter, Hop, VmCreated
from ffabric.machine.events import Call, ContextEvent, Record, Return
from ffabric.observe.decoding.captions import captions
from ffabric.observe.lines import Header
from ffabric.observe.timeline import Timeline

LINK_TYPE: Final = 147
NO_ENDPOINT: Final = 0xFFFF
KINDS: Final[dict[type[Record], int]] = {Call: 0, Return: 1, Hop: 2, Enter: 3}
"""Events that are packets, and the number that says which."""
_LAYOUT: Final = 1
_HEADER = Struct("<BBBBHHHH18Q")
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_COMMENT, _NAME, _RESOLUTION = 1, 2, 9
_NANOSECONDS = b"\x09"
_LARGEST = 0xFFFF


def write_pcapng(lines: Iterable[Record], sink: IO[bytes]) -> None:
    """Write the calls and answers of ``lines`` to ``sink``. Raises as ``lines`` do."""
    timeline = Timeline().add(lines)
    sink.write(_block(_SECTION, pack("<IHHq", _BYTE_ORDER, 1, 0, -1)))
    ids: dict[str, int] = {}
    interfaces: dict[int, int] = {}
    for number, caption in captions(timeline):
        moment = timeline.moments[number]
        line = moment.line
        if isinstance(line, Header):
            ids = dict(line.endpoints)
        elif isinstance(line, VmCreated):
            ids[line.partition] = line.endpoint
        if not isinstance(line, Call | Return | Hop | Enter):
            continue
        assert moment.lane is not None
        if line.pe not in interfaces:
            interfaces[line.pe] = len(interfaces)
            options = _options({_NAME: f"PE{line.pe}".encode(), _RESOLUTION: _NANOSECONDS})
            sink.write(_block(_INTERFACE, pack("<HHI", LINK_TYPE, 0, 0) + options))
        secure = timeline.lanes[moment.lane].secure
        data = _packet(line, line.x, ids.get(line.endpoint, NO_ENDPOINT), secure=secure)
        head = pack(
            "<IIIII", interfaces[line.pe], moment.t >> 32, moment.t & 0xFFFF_FFFF, *[len(data)] * 2
        )
        comment = _options({_COMMENT: caption.strip().encode()[:_LARGEST]})
        sink.write(_block(_PACKET, head + _padded(data) + comment))


def dissector() -> str:
    """The Lua script that teaches Wireshark these packets: ``wireshark -X lua_script:FILE``."""
    text = files(__package__).joinpath("dissector.lua").read_text(encoding="utf-8")
    return Template(text).substitute(
        functions=_functions(),
        statuses=", ".join(f"[{each.value}] = {_quoted(each.name)}" for each in Status),
        messages=_messages(),
        services=", ".join(_quoted(str(each)) for each in (ffa.DEVICE_UUID, ffa.DRIVER_UUID)),
    )


def _packet(line: ContextEvent, x: tuple[int, ...], endpoint: int, *, secure: bool) -> bytes:
    name = line.endpoint.encode()[:_LARGEST]
    write = b"".join(data for _, data in line.write) if isinstance(line, Call) else b""
    tx = write[:_LARGEST]
    head = _LAYOUT, KINDS[type(line)], int(secure), len(x), endpoint, line.vcpu, len(name), len(tx)
    return _HEADER.pack(*head, *x) + name + tx


def _block(kind: int, body: bytes) -> bytes:
    length = pack("<I", len(body) + 12)
    return pack("<I", kind) + length + body + length


def _options(values: Mapping[int, bytes]) -> bytes:
    """Options by their codes, and what ends them."""
    found = [pack("<HH", code, len(value)) + _padded(value) for code, value in values.items()]
    return b"".join([*found, pack("<HH", 0, 0)])


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _functions() -> str:
    """Function ids -> names and fields, as a Lua table."""
    found = {number: (each.name, _fields(each.args)) for number, each in FUNCTIONS.items()}
    for table in SIBLINGS:
        for number, other in table.items():
            high = 63 if is_smc64(number) else 31
            named = (Arg(name, register, high) for register, name in enumerate(other.args, 1))
            found.setdefault(number, (other.name, _fields(named)))
    found |= {number: (name, "") for number, name in KNOWN_BY_NAME.items()}
    return ",\n".join(
        f"  [{number:#x}] = {{ {_quoted(name)}, {{ {fields} }} }}"
        for number, (name, fields) in found.items()
    )


def _fields(args: Iterable[Arg]) -> str:
    return ", ".join(
        f"{{ {_quoted(arg.name)}, {arg.register}, {arg.lo}, {arg.hi} }}"
        for arg in args
        if arg.count == 1
    )


def _messages() -> str:
    """Bus and transport messages of virtio-msg by their ids, as Lua tables."""
    tables: dict[bool, dict[int, str]] = {False: {}, True: {}}
    for module in (bus, ffa, transport):
        for each in vars(module).values():
            if isinstance(each, MessageType):
                tables[each.bus][each.id] = each.name
    return ", ".join(
        f"[{str(is_bus).lower()}] = {{ "
        + ", ".join(f"[{number:#x}] = {_quoted(name)}" for number, name in sorted(table.items()))
        + " }"
        for is_bus, table in tables.items()
    )
