"""A signal in the middle of a case: what came of the cases so far is told, and the consoles kept.

The VMs are partitions in Python that print what Linux and xtest print.
"""

import io
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from ffabric.cli.running import regression
from ffabric.cli.terminal import Progress, Terminal
from ffabric.guests.partition import Partition
from ffabric.machine.host.interruption import Interrupted, interruptible
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm

CASES = ("1001", "1002", "1003")
both = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


class Linux(Partition):
    """Runs what is typed; in the middle of the case `hangs` somebody sends it `number`."""

    cut = False

    def __init__(self, number, hangs="1002", failing=(), says=("kernel 7.9", "ready")):
        super().__init__()
        self.number = number
        self.hangs = hangs
        self.failing = failing
        self.says = says
        self.typed = []

    def type(self, data):
        self.typed.append(data.decode().strip())

    async def main(self, ffa):
        for each in self.says:
            await ffa.console_log(f"ffabric: {each}\n")
        if not self.typed:
            self.hang()
        while self.typed:
            case = self.typed.pop(0)
            await ffa.console_log(f"ffabric: begins {case}\n* regression_{case} A case\n")
            if case == self.hangs:
                await ffa.console_log("the last words of it\n")
                self.hang()
            failed = int(case in self.failing)
            await ffa.console_log(f"3 subtests of which {failed} failed\n")
            await ffa.console_log(f"1 test case of which {failed} failed\n")
            await ffa.console_log(f"ffabric: ends {case} {failed}\n")

    def hang(self):
        os.kill(os.getpid(), self.number)
        while True:
            pass


class Impatient:
    """A terminal, before which somebody sends more signals as soon as it has a table."""

    def __init__(self, times=0, number=0):
        self.times = times
        self.number = number
        self.text = ""

    def isatty(self):
        return False

    def flush(self):
        pass

    def write(self, text):
        self.text += text
        if "subtests" in text:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


class Booting(Linux):
    """Has got nowhere when somebody is sent the signal."""

    async def main(self, ffa):
        while True:
            await ffa.yield_()


def booted(linuxes, spec, **_):
    """A system whose VMs take what is typed."""
    system = boot(spec)
    for endpoint, linux in zip(system.endpoints.values(), linuxes, strict=True):
        endpoint.guest = linux
    return system


def told(monkeypatch, tmp_path, file, *linuxes):
    """What the command prints on ``file``, and what it keeps of the consoles."""

    monkeypatch.setattr(regression, "boot", partial(booted, linuxes))
    terminal, log = Terminal(file, width=1000), tmp_path / "log"
    with pytest.raises(Interrupted) as caught, interruptible():
        regression.regression(
            describe(vms=[vm(each, name=f"vm{n}") for n, each in enumerate(linuxes, 1)]),
            CASES,
            terminal=terminal,
            progress=Progress(terminal),
            log=log,
        )
    assert caught.value.number == linuxes[-1].number
    return file.text, log.read_text()


@both
def test_the_table_so_far_is_printed_and_the_consoles_are_kept(monkeypatch, tmp_path, number):
    text, log = told(monkeypatch, tmp_path, Impatient(), Linux(number))
    rows = [line.split()[:5] for line in text.splitlines()]
    assert ["1001", "A", "case", "3", "passed,"] in rows
    assert ["1002", "A", "case", "0", "not"] in rows
    assert f"FAILED: {Interrupted(number)}, " in text
    assert text.endswith(
        f"not ended because of that: vm1: 1002, 1003\nthe consoles are in {tmp_path}/log\n"
    )
    assert log.endswith("vm1: the last words of it\n")


@both
def test_a_second_one_does_not_tear_the_table(monkeypatch, tmp_path, number):
    text, log = told(monkeypatch, tmp_path, Impatient(1, number), Linux(number))
    assert text.endswith(f"the consoles are in {tmp_path}/log\n")
    assert log


@both
def test_who_insists_gets_no_table(monkeypatch, tmp_path, number):
    file = Impatient(2, number)
    with pytest.raises(FileNotFoundError):
        told(monkeypatch, tmp_path, file, Linux(number))
    assert "the consoles are" not in file.text


def test_what_had_failed_before_is_told(monkeypatch, tmp_path):
    linux = Linux(signal.SIGINT, failing=("1001",))
    text, _ = told(monkeypatch, tmp_path, Impatient(), linux)
    assert "FAILED: vm1: 1001 A case: FAILED (1 of 3)" in text
    assert "1002 A case: not ended" not in text


@pytest.mark.parametrize(
    ("says", "row"),
    [
        ((), "its Linux has not got to the first process"),
        (("kernel 7.9",), "Linux 7.9, not ready"),
        (("kernel 7.9", "log optee: revision 4.10"), "Linux 7.9, optee: revision 4.10"),
    ],
)
def test_a_vm_that_has_not_got_ready_is_not_said_to_have_no_op_tee(
    monkeypatch, tmp_path, says, row
):
    text, _ = told(monkeypatch, tmp_path, Impatient(), Linux(signal.SIGINT, says=says))
    assert row in text


def test_the_table_has_what_one_vm_has_run_though_another_one_is_not_ready(monkeypatch, tmp_path):
    linuxes = Booting(signal.SIGINT), Linux(signal.SIGINT)
    text, _ = told(monkeypatch, tmp_path, Impatient(), *linuxes)
    rows = [line.split()[:5] for line in text.splitlines()]
    assert ["1001", "A", "case", "3", "passed,"] in rows
    assert "FAILED: vm1" not in text
    assert "not ended because of that: vm1: 1001, 1002, 1003; vm2: 1002, 1003" in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_the_table_is_printed_though_the_trace_has_no_room(tmp_path, monkeypatch):
    linux = Linux(0, hangs="")
    monkeypatch.setattr(regression, "boot", partial(booted, [linux]))
    file = io.StringIO()
    terminal = Terminal(file, width=1000)
    status = regression.regression(
        describe(vms=[vm(linux, name="vm1")]),
        CASES,
        terminal=terminal,
        progress=Progress(terminal),
        trace=Path("/dev/full"),
        log=tmp_path / "log",
    )
    assert status == 1
    assert file.getvalue().count("passed, ") == len(CASES)
    assert "FAILED: /dev/full: No space left on device\n" in file.getvalue()
    assert "everything is" not in file.getvalue()
