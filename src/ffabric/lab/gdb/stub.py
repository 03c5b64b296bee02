"""The server's end of gdb's remote protocol (GDB manual, appendix E), for one connection."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from ffabric.lab.gdb.packets import INTERRUPT, MOST, Stream, TooLong, packed
from ffabric.lab.gdb.session import Over, Session
from ffabric.lab.gdb.target import DESCRIPTION

_SUPPORTED = (
    f"PacketSize={MOST // 4:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;"
    "ReverseStep+;ReverseContinue+;hwbreak+"
)
_ERROR, _OK = "E01", "OK"
_KINDS = range(5)
_MOST_MEMORY = 0x4000


class _Bad(Exception):  # noqa: N818 - an answer
    """A packet that cannot be understood, or done."""


class Stub:
    """Speaks with gdb over ``connection``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = Stream()
        self._waiting: list[bytes] = []
        self._reason = ""
        self._thread = 1
        """The thread that g, m and their like are about."""
        self.at_beginning = ""
        """What a way back that has found no stop is answered."""

    # The connection.

    def _send(self, text: str) -> None:
        try:
            self._connection.sendall(packed(text.encode("latin-1")))
        except OSError:
            raise Over from None

    def _receive(self) -> bytes:
        """The next packet. Raises Over if there will be none."""
        while not self._waiting:
            self._take()
        return self._waiting.pop(0)

    def _take(self) -> None:
        """Take what has come. Raises Over if gdb is gone."""
        try:
            data = self._connection.recv(MOST)
        except OSError:
            data = b""
        if not data:
            raise Over
        try:
            found, answer = self._stream.feed(data)
        except TooLong:
            raise Over from None
        self._waiting += found
        if answer:
            try:
                self._connection.sendall(answer)
            except OSError:
                raise Over from None

    def is_interrupted(self) -> bool:
        """Whether gdb wants the run to stop. Raises Over if gdb is gone."""
        while select.select([self._connection], [], [], 0)[0]:
            self._take()
        if INTERRUPT in self._waiting:
            self._waiting.remove(INTERRUPT)
            return True
        return False

    def say(self, text: str) -> None:
        """Let gdb print ``text``, while it waits for the run to stop."""
        self._send("O" + text.encode().hex())

    def tell_end(self, reason: str) -> None:
        """The run has ended; whatever gdb wants now, it gets that answer."""
        self._send(reason)
        try:
            while True:
                packet = self._receive()
                self._send(reason if packet == b"?" else _OK if packet[:1] in b"Dk" else "")
        except Over:
            return

    # A stop.

    def stopped(self, session: Session, reason: str, *, quietly: bool) -> None:
        """The run has stopped: do what gdb wants, until that is to go on."""
        self._thread = session.current.number
        self._reason = f"{reason}thread:{self._thread:x};"
        if not quietly:
            self._send(self._reason)
        while True:
            packet = self._receive()
            if packet == INTERRUPT:
                continue
            text = packet.decode("latin-1")
            try:
                if self._goes_on(session, text):
                    return
                answer = self._answer(session, text)
            except (_Bad, ValueError, KeyError, IndexError):
                answer = _ERROR
            self._send(answer)

    def _goes_on(self, session: Session, text: str) -> bool:
        """Whether the run goes on now."""
        if text in ("c", "s") or text.startswith(("vCont;", "C", "S")):
            step = self._step_of(session, text)
            session.go_on(step)
            return True
        if text in ("bs", "bc"):
            if not session.can_go_back:
                self.say("what you have written would not be done again: there is no way back\n")
                self._send(self._reason)
                return False
            session.back(step=text == "bs")
        return False

    def _step_of(self, session: Session, text: str) -> int | None:
        """The thread that is to be stepped, if one is."""
        if text[0] in "cC":
            return None
        if text[0] in "sS":
            return self._known(session, self._thread)
        for action in text.split(";")[1:]:
            what, _, thread = action.partition(":")
            if what[:1] in ("s", "S"):
                return self._known(session, int(thread, 16) if thread else self._thread)
            if what[:1] not in ("c", "C"):
                raise _Bad
        return None

    @staticmethod
    def _known(session: Session, thread: int) -> int:
        if thread not in session.target.threads:
            raise _Bad
        return thread

    def _answer(self, session: Session, text: str) -> str:
        for prefix, answer in _ANSWERS:
            if text.startswith(prefix):
                return answer(self, session, text[len(prefix) :])
        return ""

    # Questions. Each gets what follows its letter or name.

    def _why(self, session: Session, _: str) -> str:
        return self._reason

    def _supported(self, session: Session, _: str) -> str:
        return _SUPPORTED

    def _no_acknowledgements(self, session: Session, _: str) -> str:
        self._stream.acknowledges = False
        return _OK

    def _features(self, session: Session, rest: str) -> str:
        start, _, length = rest.partition(",")
        at = int(start, 16)
        part = DESCRIPTION[at : at + int(length, 16)]
        return ("m" if at + len(part) < len(DESCRIPTION) else "l") + part

    def _threads(self, session: Session, _: str) -> str:
        return "m" + ",".join(f"{number:x}" for number in session.target.threads)

    def _thread_name(self, session: Session, rest: str) -> str:
        ctx = session.target.threads[int(rest, 16)].ctx
        state = getattr(ctx, "state", None)
        return f"{ctx.name} {'' if state is None else state.value}".encode().hex()

    def _set_thread(self, session: Session, rest: str) -> str:
        number = int(rest[1:], 16)
        if number > 0:
            self._thread = self._known(session, number)
        return _OK

    def _is_alive(self, session: Session, rest: str) -> str:
        self._known(session, int(rest, 16))
        return _OK

    def _registers(self, session: Session, _: str) -> str:
        return session.target.registers(session.target.threads[self._thread]).hex()

    def _register(self, session: Session, rest: str) -> str:
        value = session.target.register(session.target.threads[self._thread], int(rest, 16))
        if value is None:
            raise _Bad
        return value.hex()

    def _set_register(self, session: Session, rest: str) -> str:
        number, _, value = rest.partition("=")
        session.wrote()
        probe = session.target.threads[self._thread].probe
        probe.set_register(int(number, 16), int.from_bytes(bytes.fromhex(value), "little"))
        return _OK

    def _set_registers(self, session: Session, rest: str) -> str:
        data = bytes.fromhex(rest)
        if len(data) < 33 * 8:
            raise _Bad
        session.wrote()
        probe = session.target.threads[self._thread].probe
        for number in range(33):
            probe.set_register(number, int.from_bytes(data[8 * number : 8 * number + 8], "little"))
        return _OK

    def _memory(self, session: Session, rest: str) -> str:
        address, _, size = rest.partition(",")
        count = min(int(size, 16), _MOST_MEMORY)
        thread = session.target.threads[self._thread]
        data = session.target.read(thread, int(address, 16), count)
        if not data and count:
            raise _Bad
        return data.hex()

    def _set_memory(self, session: Session, rest: str) -> str:
        where, _, value = rest.partition(":")
        data = bytes.fromhex(value)
        address, _, size = where.partition(",")
        thread = session.target.threads[self._thread]
        if int(size, 16) != len(data) or not session.target.write(thread, int(address, 16), data):
            raise _Bad
        session.wrote()
        return _OK

    def _point(self, session: Session, rest: str, *, on: bool) -> str:
        kind, address, size = (int(word, 16) for word in rest.partition(";")[0].split(","))
        if kind not in _KINDS or not 0 < size <= 8:
            raise _Bad
        session.point(kind, address, size, on=on)
        return _OK

    def _set_point(self, session: Session, rest: str) -> str:
        return self._point(session, rest, on=True)

    def _clear_point(self, session: Session, rest: str) -> str:
        return self._point(session, rest, on=False)

    def _end(self, session: Session, _: str) -> str:
        self._send(_OK)
        raise Over


_ANSWERS: tuple[tuple[str, Callable[[Stub, Session, str], str]], ...] = (
    ("qSupported", Stub._supported),
    ("QStartNoAckMode", Stub._no_acknowledgements),
    ("qXfer:features:read:target.xml:", Stub._features),
    ("qfThreadInfo", Stub._threads),
    ("qsThreadInfo", lambda _stub, _session, _rest: "l"),
    ("qThreadExtraInfo,", Stub._thread_name),
    ("qC", lambda stub, _session, _rest: f"QC{stub._thread:x}"),
    ("qAttached", lambda _stub, _session, _rest: "1"),
    ("vCont?", lambda _stub, _session, _rest: "vCont;c;C;s;S"),
    ("?", Stub._why),
    ("H", Stub._set_thread),
    ("T", Stub._is_alive),
    ("g", Stub._registers),
    ("G", Stub._set_registers),
    ("p", Stub._register),
    ("P", Stub._set_register),
    ("m", Stub._memory),
    ("M", Stub._set_memory),
    ("Z", Stub._set_point),
    ("z", Stub._clear_point),
    ("D", Stub._end),
    ("k", Stub._end),
)
"""What packets begin with, and who answers them."""
