"""The fields of a call by name, in and out of registers, without an object for the call.

`call_layouts` says where a field lies; `reader` and `writer` make a plain function of shifts and
masks from that, once, for whoever handles or makes many calls:

    bind = reader(fid.FFA_NOTIFICATION_BIND, "sender", "receiver", "flags", "notifications")
    sender, receiver, flags, bits = bind(x)

    run = writer(fid.FFA_RUN, "target", "target_vcpu")
    run(0x8001, 2) == [fid.FFA_RUN, 0x8001_0002]

A field that spans registers (a handle, a bitmap, a UUID) is one integer, lowest register first.
A function id says how wide the registers are. A partition manager cuts off what a call does not
define before it handles it (`ffabric.firmware.manager.reserved`): its readers are `clean`, they
mask only what stands beside a field, and that of a 64-bit id fits its 32-bit twin too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NoReturn, overload

from ffabric.abi.ffa import calls
from ffabric.abi.ffa import functions as fid
from ffabric.abi.ffa.registers import Arg, at_version
from ffabric.abi.ffa.version import LATEST

Field = Callable[[Sequence[int]], int]
"""Registers, x0 first -> the content of a field."""
Fields = Callable[[Sequence[int]], tuple[int, ...]]
"""Registers, x0 first -> the contents of several fields."""
Writer = Callable[..., list[int]]
"""Contents of fields, by position -> x0 and as many registers as they need."""


@overload
def reader(
    function_id: int, name: str, /, *, version: int = LATEST, clean: bool = False
) -> Field: ...
@overload
def reader(
    function_id: int,
    name: str,
    second: str,
    /,
    *others: str,
    version: int = LATEST,
    clean: bool = False,
) -> Fields: ...
def reader(
    function_id: int, /, *names: str, version: int = LATEST, clean: bool = False
) -> Field | Fields:
    """A function that reads the named fields of a call; KeyError for a field that it lacks.

    With one name it returns an integer, with several a tuple of them. `clean`: the registers that
    it will read hold nothing but what the call defines.
    """
    function = fid.FUNCTIONS[function_id]
    tops = _tops(at_version(function.args, version), function.is_64) if clean else ()
    args = _chosen(function.args, names, version)
    read: Field | Fields = _reader(args, function.is_64, tops)
    return read


@overload
def result_reader(call_id: int, name: str, /, *, smc64: bool = False) -> Field: ...
@overload
def result_reader(
    call_id: int, name: str, second: str, /, *others: str, smc64: bool = False
) -> Fields: ...
def result_reader(call_id: int, /, *names: str, smc64: bool = False) -> Field | Fields:
    """What reads fields of the FFA_SUCCESS that answers `call_id`; `smc64`: of FFA_SUCCESS_64."""
    args = _chosen(fid.FUNCTIONS[call_id].replies, names, LATEST)
    read: Field | Fields = _reader(args, smc64, ())
    return read


@cache
def writer(function_id: int, /, *names: str, version: int = LATEST) -> Writer:
    """A function that makes the registers of a call from the contents of the named fields.

    It returns x0 and the registers up to the last that a named field touches, zero elsewhere;
    ValueError if a content does not fit its field. KeyError for a field that the call lacks.
    """
    function = fid.FUNCTIONS[function_id]
    args = _chosen(function.args, names, version)

    def wrong(*contents: int) -> NoReturn:
        calls.encode(function_id, version, **dict(zip(names, contents, strict=True)))
        raise AssertionError(contents)

    parameters = ", ".join(names)
    filled, fits = _filled(args, is_64=function.is_64)
    source = f"lambda {parameters}: [{', '.join([str(function_id), *filled])}]"
    write: Writer = _compiled(f"{source} if {fits} else wrong({parameters})", wrong=wrong)
    return write


def record_reader(args: Iterable[Arg], *, is_64: bool) -> Callable[[Sequence[int]], dict[str, int]]:
    """A function that reads the fields ``args`` of registers, x0 first, by their names."""
    fields = (f"{arg.name!r}: {_expression(arg, is_64, ())}" for arg in args)
    read: Callable[[Sequence[int]], dict[str, int]] = _compiled(
        f"lambda x: {{{', '.join(fields)}}}"
    )
    return read


def record_writer(args: Sequence[Arg], *, is_64: bool) -> Callable[..., list[int] | None]:
    """A function that makes x1 and the registers up to the last of ``args``, given by their names.

    One that is not given is 0. None if a content does not fit its field.
    """
    parameters = ", ".join(f"{arg.name}=0" for arg in args)
    filled, fits = _filled(args, is_64=is_64)
    write: Callable[..., list[int] | None] = _compiled(
        f"lambda {parameters}: [{', '.join(filled)}] if {fits} else None"
    )
    return write


def _filled(args: Iterable[Arg], *, is_64: bool) -> tuple[list[str], str]:
    """What x1 and the registers after it hold, and whether all contents fit, as expressions."""
    registers: dict[int, list[str]] = {}
    widths: dict[int, list[str]] = {}
    for arg in args:
        span, width = arg.span(is_64=is_64), arg.width(is_64=is_64)
        widths.setdefault(width * len(span), []).append(arg.name)
        for index, register in enumerate(span):
            content = arg.name if index == 0 else f"{arg.name} >> {index * width}"
            if index < len(span) - 1:
                content = f"{content} & {(1 << width) - 1}"
            if arg.lo:
                content = f"({content}) << {arg.lo}" if " " in content else f"{content} << {arg.lo}"
            registers.setdefault(register, []).append(content)
    filled = [" | ".join(registers.get(n, ["0"])) for n in range(1, max(registers, default=0) + 1)]
    wide = [f"({' | '.join(each)}) >> {width}" for width, each in widths.items()]
    return filled, f"not ({' or '.join(wide)})" if wide else "True"


def _chosen(args: Iterable[Arg], names: Sequence[str], version: int) -> tuple[Arg, ...]:
    """The named fields in the order of their names."""
    known = {arg.name: arg for arg in at_version(args, version) if arg.name}
    return tuple(known[name] for name in names)


def _tops(args: Iterable[Arg], is_64: bool) -> tuple[int, ...]:
    """The highest bit that fields have in each register, 0 for those that have none."""
    tops = [0] * 18
    for arg in args:
        for register in arg.span(is_64=is_64) if arg.name else ():
            tops[register] = max(tops[register], arg.lo + arg.width(is_64=is_64) - 1)
    return tuple(tops)


@cache
def _reader(args: tuple[Arg, ...], is_64: bool, tops: tuple[int, ...]) -> Any:
    fields = [_expression(arg, is_64, tops) for arg in args]
    if fields == [f"x[{arg.register}]" for arg in args]:
        return itemgetter(*[arg.register for arg in args])
    return _compiled(f"lambda x: ({', '.join(fields)})")


def _expression(arg: Arg, is_64: bool, tops: tuple[int, ...]) -> str:
    """The content of a field as an expression of registers `x`."""
    width, terms = arg.width(is_64=is_64), []
    top = arg.lo + width - 1
    for index, register in enumerate(arg.span(is_64=is_64)):
        term = f"x[{register}]" + (f" >> {arg.lo}" if arg.lo else "")
        if top < 63 and not (tops and tops[register] == top):
            term += f" & {(1 << width) - 1}"
        terms.append(f"({term}) << {index * width}" if index else term)
    return " | ".join(terms)


def _compiled(source: str, **names: object) -> Any:
    """A function from its source, which is made of nothing but the tables of this package."""
    return eval(source, {"__builtins__": {}, **names})  # noqa: S307
