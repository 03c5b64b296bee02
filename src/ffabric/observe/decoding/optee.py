"""What direct messages to and from an OP-TEE say: the services of its FF-A ABI."""

from __future__ import annotations

from collections.abc import Sequence

from ffabric.abi.ffa.registers import Arg
from ffabric.abi.ffa.status import from_register
from ffabric.abi.ffa.texts import text
from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee.tee import result_name

_STATUS = frozenset({abi.UNREGISTER_SHM, abi.RELEASE_PROTMEM})
"""Services whose result is a status of FF-A; that of the others is a TEE_Result."""


def request(words: Sequence[int]) -> str:
    """A request, from w3 to w7: the service and its parameters."""
    service = abi.service_of(words[0])
    if service is None:
        return f"OP-TEE: no service {words[0]:#x}"
    return " ".join([f"OP-TEE {service.name}", *_fields(service.args, words)])


def response(asked: Sequence[int], words: Sequence[int]) -> str:
    """The response to a request: a result, or what OP-TEE wants, or the fields."""
    service = abi.service_of(asked[0])
    if service is None:
        return f"OP-TEE: {result_name(words[0])}"
    fields = abi.parse_reply(service.id, words)
    result = fields.get("result", 0)
    if result:
        return f"OP-TEE: {_result(service.id, result)}"
    if "kind" in fields:
        return _yielded(fields["kind"], fields["resume"])
    return (
        " ".join(["OP-TEE:", *_fields(service.reply, words)]) if any(words) else "OP-TEE: SUCCESS"
    )


def _yielded(kind: int, thread: int) -> str:
    if kind == abi.Return.DONE:
        return "OP-TEE: DONE"
    known = {each.value: each.name for each in abi.Return}
    return f"OP-TEE wants {known.get(kind) or f'{kind:#x}'} for thread {thread}"


def _result(service: int, result: int) -> str:
    if service in _STATUS:
        status = from_register(result)
        return status.name if status is not None else f"{result:#x}"
    return result_name(result)


def _fields(args: Sequence[Arg], words: Sequence[int]) -> list[str]:
    regs = [0, 0, 0, *words, *[0] * 10]
    found = [(arg, arg.get(regs, is_64=False)) for arg in args if arg.name != "result"]
    return [f"{arg.name}={text(value, arg)}" for arg, value in found]
