"""``ffabric xtest``: what it says of what cannot be. The run itself is `make demo-xtest`."""

import pytest

from debs import package


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--vms", 0], "--vms 0: at least 1"),
        (["--cpus", 0], "--cpus 0: 1 to 16"),
        (["--cpus", 17], "--cpus 17: 1 to 16"),
        (["--pes", -1], "--pes -1: 0 to 256"),
        (["--lives", -1], "--lives -1: at least 0"),
        (["--timeout", -0.5], "--timeout -0.5: at least 0"),
        (["--pes", 4], "--pes: with --over smc each CPU of a VM has a PE of its own"),
        (
            ["--lives", 3, "--vms", 1],
            "--lives: there has to be another VM, which goes on: say --vms 2",
        ),
        (
            ["--over", "ffa", "--op-tee", "pyhton"],
            "pyhton: there is no such file or folder (did you mean 'python'?)",
        ),
        (["crypt"], "'crypt' is not the number of a case, such as 1001, or range of numbers"),
        (["1001-x"], "'1001-x' is not the number of a case, such as 1001, or range of numbers"),
        (["--memory", "256,much"], "--memory 256,much: numbers of MiB, with commas between"),
        (["--memory", "0"], "--memory 0: numbers of MiB, with commas between"),
        (
            ["--over", "ffa"],
            "--over ffa: say with --op-tee which OP-TEE is the secure partition",
        ),
        (
            ["--op-tee", "out/arm-plat-vexpress"],
            "--op-tee is a secure partition: say --over ffa, too",
        ),
        (["--over", "ffa", "--op-tee", "nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_what_makes_no_sense_is_refused(run_afresh, arguments, line):
    assert run_afresh("xtest", *arguments) == (2, "", f"ffabric: {line}\n")


def test_a_folder_without_xtest(run_afresh, tmp_path):
    modules = "lib/modules/7.9/kernel/drivers/firmware/arm_ffa"
    names = ("boot/vmlinuz-7.9", f"{modules}/ffa-core.ko", f"{modules}/ffa-module.ko")
    package(tmp_path, "linux-image-7.9", dict.fromkeys(names, b"data"))
    package(tmp_path, "busybox-static", {"bin/busybox": b"busybox"})
    line = f"ffabric: no package optee-os for arm64 in {tmp_path}\n"
    assert run_afresh("xtest", "--packages", tmp_path) == (2, "", line)


def test_without_package_sources_the_folder_is_pointed_out(run_afresh, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    status, _, error = run_afresh("xtest")
    assert status == 2
    assert "--packages" in error
    assert len(error.splitlines()) == 1
