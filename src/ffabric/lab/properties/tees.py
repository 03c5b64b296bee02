"""A virtualized OP-TEE: whatever one VM names, what another has is nothing to it."""

from __future__ import annotations

from ffabric.abi.optee import smc
from ffabric.abi.optee.message import Command, Param, Rmem, Tmem, Type, Value
from ffabric.abi.words import PAGE
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.lab.faults import tee
from ffabric.lab.faults.stage import RW, SHARE
from ffabric.lab.properties.trial import Trial, right

_STEPS = 10
_NEEDS_A_THREAD = frozenset({"open", "invoke", "rest"})


class _Kept:
    """What the TA keeps for sessions."""

    def __init__(self) -> None:
        self.sums: dict[tuple[int, int], int] = {}
        """By VM and number of a session, while no call of it waits."""

    def judge(self, who: int, session: int, client: tee.Client, given: Param) -> None:
        """A VM has let the TA add 1, if a value was given."""
        if (who, session) in self.sums and isinstance(given, Value):
            self.sums[who, session] += 1
            found, wanted = client.answer.params, [Value(Type.VALUE_INOUT, self.sums[who, session])]
            right(found == wanted, f"a TA keeps {found} for a session, {wanted} were given")


def _resume(client: tee.Client, who: int, thread: int, threads: list[tuple[int, int]]) -> None:
    """A VM resumes a thread that is its own, or nothing to it."""
    a0 = client.resume(thread)
    if (who, thread) not in threads:
        right(a0 == smc.Return.ERESUME, f"thread {thread} of another goes on: {a0:#x}")
    elif not smc.is_rpc(a0):
        threads.remove((who, thread))


def isolated(trial: Trial) -> None:
    """Sessions, threads, references and addresses, right ones and another VM's."""
    random = trial.random
    clients = tee.boot(trial)
    sessions: dict[int, list[int]] = {0: [], 1: []}
    threads: list[tuple[int, int]] = []
    references: list[int] = []
    kept = _Kept()
    for _ in range(_STEPS):
        who = random.randrange(2)
        client = clients[who]
        act = random.choice(("open", "invoke", "invoke", "rest", "resume", "register", "borrow"))
        every = sorted({*sessions[0], *sessions[1], random.randrange(1, 4)})
        session = random.choice(every)
        full = sum(owner == who for owner, _ in threads) == OpTee.threads
        if full and act in _NEEDS_A_THREAD:
            a0 = client.ask(Command.INVOKE_COMMAND, session=session)
            right(a0 == smc.Return.ETHREAD_LIMIT, f"a call without a free thread: {a0:#x}")
        elif act == "open":
            sessions[who].append(client.open())
            kept.sums[who, sessions[who][-1]] = 0
        elif act in ("invoke", "rest"):
            param: Param = Value(Type.VALUE_INOUT, 1)
            if references and trial.chance(0.4):
                param = Rmem(Type.FMEM_INOUT, 0, 8, random.choice(references))
            given, function = ([param], tee.ADD) if act == "invoke" else ([], tee.REST)
            a0 = client.ask(Command.INVOKE_COMMAND, *given, session=session, function=function)
            if smc.is_rpc(a0):  # also who waits for another call of the session
                threads.append((who, client.side.x[3]))
                kept.sums.pop((who, session), None)
            elif given:
                kept.judge(who, session, client, param)
        elif act == "resume" and threads:
            _resume(client, who, random.choice(threads)[1], threads)
        elif act == "register":
            reference = random.randrange(1, 4)
            page = client.side.page()
            client.ask(Command.REGISTER_SHM, Tmem(Type.TMEM_OUTPUT, page, PAGE, reference))
            references.append(reference)
        elif act == "borrow":
            other = clients[1 - who].side
            handle = other.send(SHARE, [client.side], [(other.page(), 1)], RW)
            (page, _), *_ = client.side.retrieve(handle, other, RW).constituents
            a0 = client.ask(Command.REGISTER_SHM, Tmem(Type.TMEM_OUTPUT, page, PAGE, 99))
            right(a0 == smc.Return.EBADADDR, f"memory of another is registered: {a0:#x}")
