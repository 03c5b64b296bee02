"""Kernel modules: what their files say of themselves, and which of them have to be loaded first.

Sources: ELF-64 (gABI); Linux, include/linux/module.h and kernel/module/main.c: section .modinfo has
texts ``name=value`` with a zero after each; `vermagic` begins with the release of the kernel that
the module was built for, `depends` lists modules that it needs.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from ffabric.lab.linux.deb import PackageError, files
from ffabric.lab.linux.kernel import decompress
from ffabric.system.files.reading import IMAGE, read_bytes, size_text
from ffabric.system.options.problems import did_you_mean

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_IDENT = b"\x7fELF\x02\x01\x01"
_RELOCATABLE, _AARCH64 = 1, 183
_VERSION = re.compile(rb"Linux version (\S+) ")
_MODULE_FILE = re.compile(r"/([^/]+)\.ko(\.[a-z]+)?$")
_GZIP = b"\x1f\x8b"
_ZBOOT = struct.Struct("<4s4sII8x4s")
"""The header of an image that expands itself: "MZ", "zimg", offset and size, how it is packed."""
_MOST_EXPANDED: Final = 256 << 20


class Module(Struct, frozen=True):
    """A module: its name, with underscores, its content, and what its .modinfo says."""

    name: str
    data: bytes
    release: str
    depends: tuple[str, ...] = ()


def parse_module(path: str, data: bytes) -> Module:
    """The module in a file, which may be compressed. PackageError if it is none for AArch64."""
    content = decompress(path, data)
    info = _modinfo(path, content)
    magic = info.get("vermagic", "").split()
    if not magic:
        raise PackageError(f"{path}: no kernel module: its .modinfo has no vermagic")
    stem = Path(path).name.partition(".ko")[0]
    depends = tuple(_name(each) for each in info.get("depends", "").split(",") if each)
    return Module(_name(info.get("name", stem)), content, magic[0], depends)


def _name(text: str) -> str:
    return text.replace("-", "_")


def _modinfo(path: str, data: bytes) -> dict[str, str]:
    """The texts of section .modinfo, the first of each name."""
    try:
        fields = _HEADER.unpack_from(data)
        ident, kind, machine = fields[:3]
        sections, size, count, names = fields[6], fields[11], fields[12], fields[13]
        if not ident.startswith(_IDENT) or (kind, machine) != (_RELOCATABLE, _AARCH64):
            raise PackageError(f"{path}: no kernel module for AArch64")
        headers = [_SECTION.unpack_from(data, sections + size * at) for at in range(count)]
        texts = _content(data, headers[names])
        for header in headers:
            if texts[header[0] :].partition(b"\0")[0] == b".modinfo":
                return _pairs(_content(data, header))
    except (struct.error, IndexError):
        pass
    raise PackageError(f"{path}: no kernel module: there is no section .modinfo in it")


def _content(data: bytes, header: Sequence[int]) -> bytes:
    return data[header[4] : header[4] + header[5]]


def _pairs(section: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in section.decode("utf-8", "replace").split("\0"):
        name, equals, value = text.partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def read_kernel(path: Path) -> tuple[str, bytes]:
    """Release and raw image of the kernel in a file: Image, Image.gz, or a vmlinuz of both.

    PackageError if it is none, or packed in another way.
    """
    image = _unpacked(path, read_bytes(path, IMAGE))
    found = _VERSION.search(image)
    if found is None:
        raise PackageError(f"{path}: no Linux kernel: it does not say which version it is")
    return found[1].decode("ascii", "replace"), image


def _unpacked(path: Path, data: bytes) -> bytes:
    if len(data) >= _ZBOOT.size:
        mz, kind, offset, size, packing = _ZBOOT.unpack_from(data)
        if mz.startswith(b"MZ") and kind == b"zimg":
            if packing != b"gzip":
                how = packing.rstrip(b"\0").decode("ascii", "replace")
                raise PackageError(f"{path}: an image that is packed with {how} is not read here")
            data = data[offset : offset + size]
    if not data.startswith(_GZIP):
        return data
    expander = zlib.decompressobj(wbits=31)
    try:
        expanded = expander.decompress(data, _MOST_EXPANDED)
    except zlib.error as error:
        raise PackageError(f"{path}: broken: {error}") from None
    if not expander.eof:
        most = size_text(_MOST_EXPANDED)
        raise PackageError(f"{path}: truncated, or it expands to more than {most}")
    return expanded


def packaged(debs: Iterable[Path]) -> dict[str, tuple[str, bytes]]:
    """The modules in packages of a kernel, by name: path and content, as they are packed."""
    found: dict[str, tuple[str, bytes]] = {}
    for deb in debs:
        for path, data in files(deb, _MODULE_FILE):
            match = _MODULE_FILE.search(path)
            assert match is not None
            found[_name(match[1])] = (path, data)
    return found


def _missing(name: str, asker: str, known: Iterable[str]) -> str:
    """What to say of a module that nobody has, and that ``asker``, if there is one, needs."""
    if asker:
        return f"{asker} needs the module {name}: it is not there{did_you_mean(name, known)}"
    hint = did_you_mean(name, known) or " (one of your own is named by its file, with .ko)"
    return f"no package of the kernel has a module {name}{hint}"


def in_order(
    wanted: Sequence[Module | str],
    release: str,
    known: Mapping[str, tuple[str, bytes]],
    built_in: Iterable[str] = (),
) -> list[Module]:
    """The modules to load, in an order in which each has what it depends on before it.

    ``wanted`` are modules, or names of ``known`` ones, which also are what others depend on.
    ``built_in`` are there already. PackageError for a name that nothing has, and for a module of
    another kernel than ``release``.
    """
    own = {each.name: each for each in wanted if isinstance(each, Module)}
    for each in own.values():
        if each.release != release:
            what = f"{each.name}: it is a module of the kernel {each.release}"
            raise PackageError(f"{what}, and this one is {release}")
    done: dict[str, Module | None] = dict.fromkeys(built_in)

    def add(name: str, asker: str, above: tuple[str, ...]) -> None:
        if name in done or name in above:
            return
        module = own.get(name)
        if module is None:
            if name not in known:
                raise PackageError(_missing(name, asker, known))
            module = parse_module(*known[name])
        for each in module.depends:
            add(each, name, (*above, name))
        done[name] = module

    for one in wanted:
        add(_name(one) if isinstance(one, str) else one.name, "", ())
    return [module for module in done.values() if module is not None]
