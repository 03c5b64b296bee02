"""A system's state as a number: two moments with the same one go on alike, given the same choices.

It is made of what the firmware keeps (`ffabric.session.moment`), of interrupts that are pending, of
where each Python partition stands with which local variables, and of its attributes. Time is left
out, but for what is due and when: a state that comes back later is the same state.
"""

from __future__ import annotations

import hashlib
import re
from types import CoroutineType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Any

from ffabric.machine.engines.python import PythonRunner
from ffabric.session.moment import look
from ffabric.system.spec import ImageSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ffabric.system.system import System

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_MOST_TEXT = 400


def has_images(system: System) -> bool:
    """Whether images are in the system, whose registers and memory no fingerprint has.

    With them it would take two states for one that only look alike from outside.
    """
    return any(isinstance(each.spec.source, ImageSource) for each in system.endpoints.values())


def fingerprint(system: System, *more: object) -> int:
    """The state of ``system``, and of ``more`` that decides how it goes on."""
    machine = system.machine
    parts = [f"{name}={text}" for name, text in look(system).items()]
    parts += [f"{pe.index} {machine.gic.pending(pe.index)}" for pe in machine.pes]
    parts += [f"due in {each.deadline - machine.clock.now}" for each in machine.clock.events]
    for endpoint in system.endpoints.values():
        if endpoint.software is not None:
            parts.append(_text(vars(endpoint.software)))
        for ctx in endpoint.partition.contexts:
            if isinstance(ctx.runner, PythonRunner):
                parts += _stack(ctx.runner.stack)
    text = "\n".join([*parts, *map(repr, more)])
    digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _stack(coroutines: list[Any]) -> Iterator[str]:
    """Where coroutines stand, from the outermost to the innermost."""
    for each in coroutines:
        inner: Any = each
        while (frame := _frame(inner)) is not None:
            local = {k: v for k, v in frame.f_locals.items() if k not in ("self", "ffa")}
            yield f"{frame.f_code.co_qualname}:{frame.f_lasti} {_text(local)}"
            inner = inner.cr_await if isinstance(inner, CoroutineType) else inner.gi_yieldfrom


def _frame(inner: object) -> FrameType | None:
    """Where a coroutine stands; None for what is none, or has ended."""
    if isinstance(inner, CoroutineType):
        found: FrameType | None = inner.cr_frame
        return found
    return inner.gi_frame if isinstance(inner, GeneratorType) else None


def _text(values: dict[str, Any]) -> str:
    """Values as a text in which no address of the host is."""
    texts = []
    for name, value in sorted(values.items()):
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001 - a partition's own object
            text = type(value).__name__
        texts.append(f"{name}={_ADDRESS.sub('', text)[:_MOST_TEXT]}")
    return " ".join(texts)
