"""Play on other machines: the workers of a scheduler of dask.distributed.

Workers come and go; what one had begun that is gone, another one does again. Each needs the same
ffabric, and the files that are named under the same paths.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ffabric.system.booting.engines.extras import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ffabric.lab.processes import Spread

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 10
"""Seconds of wall time in which a scheduler answers."""
RETRIES = 10
"""How often a piece of work is begun anew whose worker is gone."""


class NoScheduler(OSError):  # noqa: N818 - what is not there
    """Nobody at the address is a scheduler."""


@contextmanager
def scheduled(address: str) -> Iterator[Spread]:
    """What plays on the workers of the scheduler at ``address`` ("tcp://host:8786").

    NoScheduler if there is none, MissingExtra without the package.
    """
    try:
        from distributed import Client  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise MissingExtra("distributed", "scheduler") from None
    try:
        client: Any = Client(address, timeout=PATIENCE)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise NoScheduler(f"{address}: no scheduler of dask.distributed: {error}") from None
    with client:
        yield _Workers(client)


class _Workers:
    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(
        self,
        function: Callable[[T], R],
        inputs: Sequence[T],
        processes: int | None = None,
        chunk: int = 1,
    ) -> Generator[R]:
        pieces = [inputs[at : at + chunk] for at in range(0, len(inputs), chunk)]
        futures = [
            self._client.submit(_all, function, piece, pure=False, retries=RETRIES)
            for piece in pieces
        ]
        try:
            for future in futures:
                yield from future.result()
        finally:
            self._client.cancel(futures)


def _all(function: Callable[[T], R], inputs: Sequence[T]) -> list[R]:
    return [function(each) for each in inputs]
