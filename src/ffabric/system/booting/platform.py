"""What EL3 has of the platform's: calls that a system describes, and logical partitions."""

from __future__ import annotations

from collections.abc import Iterator

from ffabric.abi.words import MASK64
from ffabric.firmware.monitor.logical import SPMD_PARTITION, LogicalPartition
from ffabric.firmware.state.interface.platform_calls import Answer, PlatformCalls, Served
from ffabric.machine.engines.python import is_of_program, told
from ffabric.system.description.python_target import find_function
from ffabric.system.spec import MonitorSpec, PythonSource

_REGISTERS = 18
_LEAST = -1 - MASK64 // 2


class PlatformCallError(RuntimeError):
    """The Python function that serves a call of the platform at EL3 has failed."""


def platform_calls(spec: MonitorSpec) -> PlatformCalls:
    """What answers the calls of ``spec``. Raises TargetError for a name that leads nowhere."""
    served: dict[int, Served] = {}
    for function, answer in spec.calls:
        if isinstance(answer, PythonSource):
            served[function] = _checked(function, find_function(answer))
        else:
            served[function] = _constant(answer)
    return PlatformCalls(served)


def logical_partitions(spec: MonitorSpec) -> Iterator[LogicalPartition]:
    """The logical partitions at EL3. Raises TargetError for a name that leads nowhere."""
    if spec.spmd_logical_partition:
        yield SPMD_PARTITION
    for each in spec.logical_partitions:
        serve = None if each.serve is None else find_function(each.serve)
        yield LogicalPartition(each.id, each.name, each.uuid, serve)


def _constant(words: tuple[int, ...]) -> Served:
    return lambda x: words


def _checked(function: int, serve: Served) -> Served:
    """``serve``, whose mistakes are told as such: what it raises, and what it answers."""

    def call(x: list[int]) -> Answer:
        try:
            answer = serve(x)
            words = (answer,) if isinstance(answer, int) else tuple(answer or ())
            whole = all(isinstance(word, int) and _LEAST <= word <= MASK64 for word in words)
        except Exception as error:
            if not is_of_program(error):
                raise
            raise PlatformCallError(f"the call {function:#010x} of EL3: {told(error)}") from error
        if not whole or len(words) > _REGISTERS:
            message = f"answers {answer!r}: a number or up to {_REGISTERS} are registers"
            raise PlatformCallError(f"the call {function:#010x} of EL3 {message}")
        return None if answer is None else words

    return call
