from ffabric.machine.engines.unicorn import native

SOURCE: str

def setup(twin: type, read: int, write: int, start: int, stop: int, /) -> None: ...

class InnerLoop:
    def bind(
        self,
        emulator: native.Emulator,
        uc: int,
        counter: int,
        ids: tuple[int, ...],
        pc: int,
        calls: dict[int, int],
        /,
    ) -> int: ...
