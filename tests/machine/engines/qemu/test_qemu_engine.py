"""The QEMU engine with the real QEMU: calls, CPUs, interrupts, console, deaths."""

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import processes_at_hand
from ffabric.abi import psci
from ffabric.guests import images
from ffabric.guests.partition import Partition
from ffabric.lab.running import End, run_to_end
from ffabric.machine.engines.qemu import engine as qemu_engine
from ffabric.system.booting.boot import boot
from ffabric.system.description.python import describe, vm
from ffabric.system.spec import KernelBoot

IMAGES = Path(__file__).parents[3] / "images"
OUTSIDER = IMAGES / "outsider.bin"


@pytest.fixture(autouse=True)
def qemu():
    if shutil.which("qemu-system-aarch64") is None:
        pytest.fail("no QEMU: apt-get install qemu-system-arm")


class Adder(Partition):
    uuid = "5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11"

    async def on_direct_request(self, request, ffa):
        a, b, *_ = request.payload
        return request.respond(a + b)


def system(image, *, sps=(), cpus=1):
    kernel = vm("guest", image=image, engine="qemu", kernel=KernelBoot(), vcpus=cpus)
    return boot(describe(sps=sps, vms=[kernel], hypervisor=False, pes=cpus))


def test_an_image_asks_an_sp_as_under_any_engine():
    with system(images.load("client_smc"), sps=[Adder()]) as booted:
        outcome = run_to_end(booted)
        assert outcome.end is End.POWERED_OFF
        assert booted.refusals == {}
        runner = booted.endpoints["guest"].partition.contexts[0].runner
        assert len(runner.round_trips) > 64


def test_of_many_calls_the_later_ones_are_remembered(monkeypatch):
    monkeypatch.setattr("ffabric.machine.engines.qemu.runner.REMEMBERED", 32)
    with system(images.load("client_smc"), sps=[Adder()]) as booted:
        run_to_end(booted)
        runner = booted.endpoints["guest"].partition.contexts[0].runner
        assert 16 <= len(runner.round_trips) == len(runner.functions) <= 32
        assert runner.functions[-1] == psci.SYSTEM_OFF


def under_a_hypervisor(*images_):
    vms = [
        vm(name=f"vm{n}", image=image, engine="qemu", kernel=KernelBoot())
        for n, image in enumerate(images_)
    ]
    return boot(describe(sps=[Adder()], vms=vms, stop_on_crash=False))


def test_vms_under_a_hypervisor_have_memory_of_their_own():
    client = images.load("client_smc")
    with under_a_hypervisor(client, client) as booted:
        vms = [booted.endpoints[name] for name in ("vm0", "vm1")]
        places = [[(each.ipa, each.pa) for each in endpoint.spec.memory] for endpoint in vms]
        assert run_to_end(booted).end is End.IDLE
    assert [ipa for ((ipa, _),) in places] == [0x4000_0000] * 2
    assert len({pa for ((_, pa),) in places} | {0x4000_0000}) == 3
    assert set(booted.refusals) <= {"direct.req.receiver_busy"}
    assert [each.partition.fate for each in vms] == ["powered itself off"] * 2


def test_the_others_go_on_when_a_vm_is_gone():
    with under_a_hypervisor(OUTSIDER, images.load("client_smc")) as booted:
        first, second = (booted.endpoints[name] for name in ("vm0", "vm1"))
        pids = []

        def listen(name, line):
            if line == "hello":
                pids.append(first.guest.process.pid)
                os.kill(pids[0], signal.SIGKILL)

        booted.listeners.append(listen)
        run_to_end(booted)
        assert first.partition.fate == f"QEMU (process {pids[0]}) ended: killed by SIGKILL"
        assert second.partition.fate == "powered itself off"


def test_cpus_start_and_stop_and_interrupts_arrive():
    lines = []
    with system(OUTSIDER, cpus=2) as booted:
        gic = booted.machine.gic

        def listen(name, line):
            lines.append((name, line))
            if line == "ready":
                gic.set_pending(booted.firmware.spmc.sri, 0)

        booted.listeners.append(listen)
        outcome = run_to_end(booted)
        assert outcome.end is End.POWERED_OFF
        assert lines == [("guest", text) for text in ("hello", "ready", "interrupt 8")]
        second = booted.endpoints["guest"].partition.contexts[1]
        assert second.x[0:2] == [0x8400_0002, 0x0]


class Slow(Adder):
    """Works on a request until it is released."""

    released = False

    async def on_direct_request(self, request, ffa):
        while not self.released:
            await ffa.id_get()
        return await super().on_direct_request(request, ffa)


def test_an_sp_is_preempted_for_the_interrupts_of_the_guest():
    slow, lines = Slow(), []

    def listen(name, line):
        lines.append(line)
        slow.released = True

    with system(IMAGES / "preempted.bin", sps=[slow]) as booted:
        booted.listeners.append(listen)
        assert run_to_end(booted).end is End.POWERED_OFF
    assert lines == ["preempted", "answered"]


def test_a_dead_qemu_is_named():
    with system(OUTSIDER, cpus=2) as booted:
        pid = booted.endpoints["guest"].guest.process.pid
        booted.listeners.append(lambda name, line: processes_at_hand.kill(pid))
        outcome = run_to_end(booted)
        assert outcome.end is End.CRASHED
        assert outcome.reason == f"guest: QEMU (process {pid}) ended: killed by SIGKILL"


def test_a_guest_does_not_hang_though_nobody_answers(monkeypatch):
    patience = qemu_engine.TICKS_PER_SECOND // 100
    monkeypatch.setattr(qemu_engine.QemuGuest, "patience", patience)
    with system(OUTSIDER) as booted:
        process = booted.endpoints["guest"].guest.process
        said = b""
        while not said.endswith(b"alone\n"):
            assert select.select([process.console], [], [], 30)[0]
            said += process.console.recv(100)
        assert said == b"hello\nalone\n"


def test_qemu_is_gone_when_the_system_is_closed():
    with system(OUTSIDER) as booted:
        pid = booted.endpoints["guest"].guest.process.pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_qemu_dies_with_us_whatever_we_die_of():
    program = f"""
        import sys
        from ffabric.system.booting.boot import boot
        from ffabric.system.description.python import describe, vm
        from ffabric.system.spec import KernelBoot
        kernel = vm("guest", image={str(OUTSIDER)!r}, engine="qemu", kernel=KernelBoot())
        system = boot(describe(vms=[kernel], hypervisor=False))
        print(system.endpoints["guest"].guest.process.pid, flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        qemu = os.pidfd_open(int(child.stdout.readline()))
        try:
            child.kill()
            assert select.select([qemu], [], [], 30)[0]
        finally:
            os.close(qemu)
