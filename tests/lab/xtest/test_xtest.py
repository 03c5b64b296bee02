"""xtest in two VMs: its packages, its output, and what the VMs are told to do."""

import re

import pytest

from debs import package
from ffabric.abi.optee import smc
from ffabric.cli.errors import UsageError
from ffabric.cli.running.regression import numbers_of
from ffabric.guests.trusted_os import TrustedOs
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.linux.kernel import Kernel
from ffabric.lab.optee.build import Build
from ffabric.lab.xtest import optee, rootfs, software, system
from ffabric.lab.xtest.campaign import Campaign, Sharing
from ffabric.lab.xtest.forger import FfaForger, SmcForger
from ffabric.lab.xtest.killings import OfTheSupplicant, OfTheVm
from ffabric.lab.xtest.lives import SURVIVED
from ffabric.lab.xtest.report import CASES, Report
from ffabric.lab.xtest.rootfs import KILL, START
from ffabric.machine.clock import Clock
from ffabric.system.crash import PartitionCrashed
from ffabric.system.description.python import sp, trusted_os, vm

IMAGE = "usr/lib/optee/vexpress-qemu_armv8a-virtualized/tee-pager_v2.bin"
LIBRARIES = "lib/aarch64-linux-gnu"
KERNEL = Kernel("7.9", b"image", {"optee": b"o", "ffa-core": b"f", "tee": b"t"}, b"busybox", ())


# Packages


@pytest.fixture
def folder(tmp_path):
    package(tmp_path, "optee-os", {IMAGE: b"optee", "usr/lib/optee/other/tee-pager_v2.bin": b"no"})
    package(
        tmp_path,
        "optee-test-qemu",
        {"usr/bin/xtest": b"xtest", "usr/lib/optee_armtz/a.ta": b"ta", "usr/share/doc": b"no"},
        depends="libc6 (>= 2.38), libteec2, a-virtual-package",
    )
    package(tmp_path, "tee-supplicant", {"usr/sbin/tee-supplicant": b"tee"}, depends="libc6")
    package(tmp_path, "libc6", {f"{LIBRARIES}/libc.so.6": b"libc"}, depends="libteec2")
    package(
        tmp_path,
        "libteec2",
        {
            f"usr/{LIBRARIES}/libteec.so.2.0": b"teec",
            f"usr/{LIBRARIES}/libteec.so.2": "libteec.so.2.0",
        },
    )
    return tmp_path


def test_ranges_are_those_cases_that_xtest_has(folder):
    names = b"regression_4100.c\0regression_1001\0regression_4001\0regression_4012_x\0other_4002"
    package(folder, "optee-test-qemu", {"usr/bin/xtest": names}, depends="tee-supplicant")
    found = software.from_folder(folder)
    assert found.cases == ["1001", "4001", "4012"]
    assert numbers_of(["4012", "1000-4002"], found) == ("4012", "1001", "4001")
    with pytest.raises(UsageError, match="'5000-5001': xtest has no such cases"):
        numbers_of(["5000-5001"], found)
    with pytest.raises(UsageError, match=r"'1013': xtest has no such case$"):
        numbers_of(["1001", "1013"], found)


def test_what_xtest_is_asked_is_up_to_it_if_it_does_not_say_what_it_has(folder):
    found = software.from_folder(folder)
    assert not found.cases
    assert numbers_of(["1013"], found) == ("1013",)
    with pytest.raises(UsageError, match="'1000-1999': xtest has no such cases"):
        numbers_of(["1000-1999"], found)


def test_the_files_of_all_packages_that_are_needed(folder):
    found = software.from_folder(folder)
    assert found.optee == b"optee"
    assert {entry.path: entry.data for entry in found.entries} == {
        "usr/bin/xtest": b"xtest",
        "usr/sbin/tee-supplicant": b"tee",
        "usr/lib/optee_armtz/a.ta": b"ta",
        f"usr/{LIBRARIES}/libc.so.6": b"libc",
        f"usr/{LIBRARIES}/libteec.so.2.0": b"teec",
        f"usr/{LIBRARIES}/libteec.so.2": b"libteec.so.2.0",
    }
    assert len(found.packages) == 5


@pytest.mark.parametrize("name", ["optee-os", *software.TOOLS])
def test_a_package_that_is_missing_is_named(folder, name):
    (folder / f"{name}_1_arm64.deb").unlink()
    with pytest.raises(PackageError, match=f"no package {name} for arm64"):
        software.from_folder(folder)


def test_packages_without_what_they_should_have(folder):
    package(folder, "optee-os")
    with pytest.raises(PackageError, match="no virtualized OP-TEE for QEMU's machine in optee-os"):
        software.from_folder(folder)
    package(folder, "optee-os", {IMAGE: b"optee"})
    package(folder, "tee-supplicant")
    with pytest.raises(PackageError, match="there is no tee-supplicant in optee-test"):
        software.from_folder(folder)


def test_the_initial_file_system_and_the_system(folder):
    found = software.from_folder(folder)
    archive = rootfs.build(KERNEL, found)
    for part in (
        b"usr/lib/modules/optee.ko",
        b"xtest -t regression",
        b"for module in ffa-core tee",
    ):
        assert part in archive
    spec = system.below_el3(system.Linuxes(KERNEL, found, ["vm1", "vm2"]), found.optee)
    assert [each.name for each in spec.vms] == ["vm1", "vm2"]
    assert spec.trusted_os.load_address == 0x0E100000
    assert not spec.run.stop_on_crash


def test_op_tee_may_be_in_a_qemu_of_its_own(folder):
    found = software.from_folder(folder)
    linuxes = system.Linuxes(KERNEL, found, ["vm1"], cpus=2)
    spec = system.below_el3(linuxes, found.optee, engine="qemu")
    assert (spec.trusted_os.engine, spec.trusted_os.vcpus, spec.devices) == ("qemu", 3, ())
    spec = system.below_el3(linuxes, found.optee, engine="unicorn")
    assert [each.name for each in spec.devices] == ["uart1"]


def test_the_core_in_python_has_room_for_all(folder):
    pytest.importorskip("cryptography")
    found = software.from_folder(folder)
    names = [f"vm{number}" for number in range(1, 21)]
    spec = system.below_el3_in_python(system.Linuxes(KERNEL, found, names))
    assert [each.name for each in spec.vms] == names
    assert (spec.trusted_os.vcpus, spec.pes) == (21, 21)
    assert spec.notification_interrupt == 219
    core = spec.trusted_os.source.target
    assert all(core.add_bank(vm) for vm in range(1, 22))


# What xtest prints


def lines(case, failed=0, status=0, subtests=5, cases=1):
    yield f"ffabric: begins {case}"
    yield f"* regression_{case} Title of {case}"
    for number in range(OfTheVm.lines):
        yield f"  regression_{case}.{number} OK"
    yield f"{subtests} subtests of which {failed} failed"
    yield f"{cases} test case of which {int(failed > 0)} failed"
    yield f"ffabric: ends {case} {status}"


def test_a_case_that_passed():
    report = Report()
    for line in ("ffabric: kernel 7.9", "ffabric: log optee: revision 4.10", "ffabric: ready"):
        report.line(line)
    assert (report.kernel, report.log, report.ready) == ("7.9", ["optee: revision 4.10"], True)
    *before, end = lines("1001")
    for line in before:
        report.line(line)
    assert report.current.result == "not ended"
    assert report.line(end) == "ends"
    (case,) = report.cases
    assert (case.number, case.title, case.subtests, case.failed) == ("1001", "Title of 1001", 5, 0)
    assert case.passed


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ([*lines("1001", failed=2)], "FAILED (2 of 5)"),
        ([*lines("1001", status=1)], "FAILED (0 of 5)"),
        ([*lines("1001", status="killed")], "FAILED (0 of 5)"),
        ([*lines("1001", subtests=0, cases=0)], "FAILED (nothing ran)"),
        (["ffabric: begins 9", "ffabric: ends 9 0"], "FAILED (nothing ran)"),
    ],
)
def test_a_case_that_failed(text, result):
    report = Report()
    for line in text:
        report.line(line)
    assert report.cases[0].result == result


def test_a_case_without_subtests_was_skipped():
    report = Report()
    for line in lines("1037", subtests=0):
        report.line(line)
    assert report.cases[0].result == "skipped"
    assert report.cases[0].passed


def test_a_number_of_several_cases_has_the_title_of_the_first():
    report = Report()
    for line in (
        "ffabric: begins 4006",
        "* regression_4006_dsa DSA operations",
        "* regression_4006_rsa RSA operations",
    ):
        report.line(line)
    assert report.cases[0].title == "DSA operations"


def test_what_is_not_expected_is_no_news():
    report = Report()
    for line in (
        "* regression_1 x",
        "ffabric: ends 1 0",
        "ffabric: unknown",
        "5 subtests of which 0 failed",
    ):
        assert report.line(line) == ""
    assert report.cases == []


# What the VMs are told to do


class Console:
    """A VM in QEMU that runs what it is told to, at once, when the test lets it."""

    def __init__(self, name, system):
        self.name = name
        self.system = system
        self.typed = []
        self.cut = False
        self.process = self
        self.pid = 0

    def type(self, data):
        self.typed.append(data.decode().strip())

    def say(self, line):
        for listener in self.system.listeners:
            listener(self.name, line)

    def begin(self):
        """Say that it is ready."""
        self.say("ffabric: ready")

    def run(self, upto=None, **outcome):
        """Run the oldest case that it was told to run."""
        for line in [*lines(self.typed.pop(0), **outcome)][:upto]:
            self.say(line)


class System:
    """As much of a system as the campaign knows."""

    def __init__(self, names):
        self.listeners = []
        self.deaths = []
        self.refusals = {}
        self.stopped = False
        self.machine = self
        self.clock = Clock()
        self.consoles = {name: Console(name, self) for name in names}
        self.endpoints = self
        self.created = []

    def __contains__(self, name):
        return name in self.consoles

    def __getitem__(self, name):
        return type("Endpoint", (), {"name": name, "guest": self.consoles[name], "spec": self})

    @property
    def memory(self):
        return [type("Memory", (), {"pa": 0x5000_0000})]

    def stop(self):
        self.stopped = True

    def create_vm(self, draft):
        self.created.append(draft)
        self.consoles.setdefault(draft.name, Console(draft.name, self))
        return self[draft.name]

    def destroy_vm(self, name):
        del self.consoles[name]


@pytest.fixture
def killed(monkeypatch):
    pids = []
    monkeypatch.setattr("os.kill", lambda pid, _: pids.append(pid))
    return pids


def begun(cases=CASES[:1], *, kill="vm", names=("vm1", "vm2"), **sharing):
    booted = System(names)
    asked = Sharing(kill=kill, **sharing)
    campaign = Campaign(booted, names, cases, sharing=asked, say=lambda _: None)  # type: ignore[arg-type]
    for console in booted.consoles.values():
        console.begin()
    return booted, campaign, list(booted.consoles.values())


def told_without_times(campaign):
    """The problems, without the times of their causes, and without how long cases took."""
    return [
        re.sub(r", \d+\.\d s after the start$| in \d+\.\d s$", ", T", each)
        for each in campaign.problems()
    ]


def second(booted):
    booted.clock.advance(1_000_000_000)


def test_all_run_all_cases_at_their_own_pace():
    booted, campaign, (one, two) = begun(("1001", "1002"), kill=None)
    one.run()
    one.run()
    assert (one.typed, two.typed, booted.stopped) == ([], ["1001"], False)
    two.run()
    two.run()
    assert booted.stopped
    assert campaign.problems() == []


@pytest.mark.parametrize(
    "begun_line",
    ["* regression_1001 Test User Cr", "ffabric: ends 1001 ", "ffabric: begins 10"],
)
def test_half_a_line_where_the_run_was_ended_says_nothing(begun_line):
    _, campaign, (one, _) = begun(kill=None)
    one.say("ffabric: begins 1001")
    one.cut = True
    one.say(begun_line)
    (case,) = campaign.guests["vm1"].report.cases
    assert (case.number, case.title, case.status) == ("1001", "", None)
    assert campaign.guests["vm1"].lines[-1] == begun_line


def test_a_case_that_fails_is_a_problem():
    _, campaign, (one, two) = begun(kill=None)
    one.run(failed=1)
    two.say("ffabric: failed insmod optee")
    assert told_without_times(campaign) == [
        "vm1: 1001 Title of 1001: FAILED (1 of 5), T",
        "vm2: insmod optee",
    ]


def test_the_death_of_a_vm_is_told_and_what_follows_is_not():
    booted, campaign, (one, two) = begun(("1001", "1002"), kill=None)
    one.run()
    one.run()
    two.run(upto=5)
    booted.deaths.append(PartitionCrashed("vm2", "QEMU ended"))
    second(booted)
    assert booted.stopped
    assert told_without_times(campaign) == ["vm2: QEMU ended, T"]
    assert campaign.missed() == "vm2: 1001, 1002"


def test_what_failed_before_a_cause_is_a_problem_and_what_failed_after_it_is_none():
    booted, campaign, (one, two) = begun(("1001", "1002"), kill=None)
    two.run(failed=1)
    booted.deaths.append(PartitionCrashed("op-tee", "QEMU (process 7) ended: killed by SIGKILL"))
    second(booted)
    one.run(failed=5)
    assert booted.stopped
    assert told_without_times(campaign) == [
        "op-tee: QEMU (process 7) ended: killed by SIGKILL, T",
        "vm2: 1001 Title of 1001: FAILED (1 of 5), T",
    ]
    assert campaign.missed() == "vm1: 1002; vm2: 1002"


def test_a_vm_without_its_supplicant_is_given_up_and_the_other_goes_on():
    booted, campaign, (one, two) = begun(("1001", "1002"), kill=None)
    two.run(upto=5)
    two.say("ffabric: supplicant 137")
    assert not booted.stopped
    one.run()
    one.run()
    assert booted.stopped
    assert told_without_times(campaign) == [
        "vm2: tee-supplicant has ended with exit status 137 in the middle of 1001, T"
    ]
    assert campaign.missed() == "vm2: 1001, 1002"


def test_a_run_that_is_ended_is_told_once():
    _, campaign, (one, two) = begun(("1001", "1002"), kill="vm")
    one.run()
    two.run(upto=3)
    campaign.ended("the timeout of 5 s is reached")
    assert told_without_times(campaign) == ["the timeout of 5 s is reached, T"]
    assert campaign.missed() == "vm1: 1002; vm2: 1001, 1002"


def test_a_run_that_is_over_has_missed_nothing():
    _, campaign, (one, two) = begun(kill=None)
    one.run(failed=1)
    two.run()
    assert campaign.missed() == ""


def test_one_is_killed_in_the_middle_and_the_other_goes_on(killed):
    booted, campaign, (one, two) = begun()
    one.run()
    two.run()
    assert one.typed == two.typed == [OfTheVm.case]
    two.run(upto=OfTheVm.lines)
    assert killed == []
    two.say("one more line")
    assert killed == [0]
    booted.deaths.append(PartitionCrashed("vm2", "killed by SIGKILL"))
    second(booted)
    one.run()
    assert one.typed == [SURVIVED]
    one.run()
    assert [draft.name for draft in booted.created] == ["mallory"]
    campaign.killing.forger.answers += ["OK", "EBADADDR"]
    assert campaign.problems() == ["nothing was refused by optee.address"]
    booted.refusals["optee.address"] = 1
    assert campaign.problems() == []
    campaign.killing.forger.answers[1] = "0x77"
    assert campaign.problems() == ["the forger was answered ['OK', '0x77'], not OK and EBADADDR"]


def in_the_middle_of_the_supplicant():
    """The last VM's tee-supplicant is killed while both run one more case."""
    booted, campaign, (one, two) = begun(kill="supplicant")
    one.run()
    two.run()
    assert one.typed == two.typed == [OfTheSupplicant.case]
    two.run(upto=OfTheSupplicant.lines)
    assert two.typed == []
    two.say("one more line")
    assert two.typed == [KILL]
    return booted, campaign, one, two


def test_a_killed_supplicant_is_replaced_and_all_go_on(killed):
    booted, campaign, one, two = in_the_middle_of_the_supplicant()
    two.say("ffabric: supplicant 137")
    assert two.typed == [KILL, START]
    two.say(f"ffabric: ends {OfTheSupplicant.case} 1")
    del two.typed[:2]
    assert two.typed == [SURVIVED]
    two.run()
    one.run()
    assert not booted.stopped
    one.run()
    assert booted.stopped
    assert campaign.problems() == []
    assert killed == []


def test_the_case_in_which_a_supplicant_is_killed_has_not_failed():
    lines = []
    _, campaign, _, two = in_the_middle_of_the_supplicant()
    campaign.say = lines.append
    two.say("ffabric: supplicant 137")
    two.say(f"ffabric: ends {OfTheSupplicant.case} 1")
    assert lines[-1].startswith(f"vm2: {OfTheSupplicant.case} ")
    assert ": cut short in " in lines[-1]
    two.say("ffabric: begins 1004")
    two.say("ffabric: ends 1004 1")
    assert ": FAILED (nothing ran) in " in lines[-1]


def test_what_everybody_is_at_is_a_line():
    booted = System(("vm1", "vm2"))
    campaign = Campaign(booted, ("vm1", "vm2"), CASES[:1], say=lambda _: None)  # type: ignore[arg-type]
    one, two = booted.consoles.values()
    assert campaign.at_work() == "vm1, vm2: Linux is booting"
    one.begin()
    one.say(f"ffabric: begins {CASES[0]}")
    assert campaign.at_work() == f"vm1: {CASES[0]} is running; vm2: Linux is booting"
    two.begin()
    two.say(f"ffabric: begins {CASES[0]}")
    assert campaign.at_work() == f"vm1, vm2: {CASES[0]} is running"
    for console in (one, two):
        console.say(f"ffabric: ends {CASES[0]} 0")
    assert campaign.at_work() == ""


def test_a_supplicant_that_dies_again_is_a_cause():
    _, campaign, _, two = in_the_middle_of_the_supplicant()
    two.say("ffabric: supplicant 137")
    two.say("ffabric: supplicant 139")
    assert told_without_times(campaign)[0] == (
        "vm2: tee-supplicant has ended with exit status 139 in the middle of 6001, T"
    )


def test_what_fails_after_a_supplicant_was_replaced_is_a_problem():
    _, campaign, one, two = in_the_middle_of_the_supplicant()
    two.say("ffabric: supplicant 137")
    two.say(f"ffabric: ends {OfTheSupplicant.case} 1")
    del two.typed[:2]
    two.run(failed=2)
    one.run()
    one.run(failed=1)
    assert told_without_times(campaign) == [
        f"vm1: {SURVIVED} Title of {SURVIVED}: FAILED (1 of 5), T",
        f"vm2: {SURVIVED} Title of {SURVIVED}: FAILED (2 of 5), T",
    ]


def test_a_supplicant_that_was_not_killed_is_a_problem():
    booted, campaign, (one, two) = begun(kill="supplicant")
    one.run()
    two.run()
    two.run(upto=2)
    two.say(f"ffabric: ends {OfTheSupplicant.case} 0")
    one.run()
    one.run()
    assert booted.stopped
    assert "vm2's tee-supplicant was not killed" in campaign.problems()


def test_a_vm_that_dies_while_its_supplicant_is_killed_is_a_cause():
    booted, campaign, _, _ = in_the_middle_of_the_supplicant()
    booted.deaths.append(PartitionCrashed("vm2", "QEMU ended"))
    second(booted)
    assert told_without_times(campaign)[0] == "vm2: QEMU ended, T"


class Tee(TrustedOs):
    """An OP-TEE that believes what it is told, once it has let its caller take an interrupt."""

    async def on_call(self, x, vcpu):
        rpc = x[0] == smc.CALL_WITH_ARG
        return (smc.Rpc.FOREIGN_INTR if rpc else smc.Return.OK, 0, 0, 0)


def test_the_page_of_another_vm_is_not_for_the_forger(ffabric):
    tee = trusted_os(Tee())
    session = ffabric.boot(vms=["victim"], trusted_os=tee, pes=2)
    booted = session.system
    (memory, *_) = booted.endpoint("victim").spec.memory
    ended = []
    forger = SmcForger(memory.pa, lambda: ended.append(True))
    booted.create_vm(vm(forger, mem_size=1 << 20))
    with ffabric.refuses("optee.address"):
        session.run()
    assert forger.answers == ["OK", "EBADADDR"]
    assert ended == [True]


def anew(name):
    return vm(name)


def test_a_vm_is_created_anew_while_the_others_go_on():
    booted, campaign, (one, two) = begun(kill=None, lives=2, anew=anew)
    one.run()
    two.run()
    for life in (1, 2):
        assert [draft.name for draft in booted.created] == ["vm2"] * life
        born = booted.consoles["vm2"]
        assert one.typed == [SURVIVED]
        born.begin()
        one.run()
        assert (one.typed, born.typed) == ([SURVIVED], [SURVIVED])
        born.run()
    assert not booted.stopped
    one.run()
    assert booted.stopped
    assert campaign.problems() == []
    assert len(campaign.lives.ended) == 2
    assert dict(campaign.lives.meanwhile()) == {"vm1": 3}


def test_a_life_that_fails_is_a_problem():
    booted, campaign, (one, two) = begun(kill=None, lives=2, anew=anew)
    one.run()
    two.run()
    booted.consoles["vm2"].begin()
    booted.consoles["vm2"].run(failed=1)
    assert told_without_times(campaign) == [
        "vm2, created anew 1: 1004 Title of 1004: FAILED (1 of 5), T",
        "vm2 was created anew 1 times, not 2",
    ]


def test_vms_for_which_there_is_no_room_are_to_be_refused():
    names = ("vm1", "vm2", "vm3")
    booted, campaign, (one, two, three) = begun(
        kill=None, names=names, room=2, refusal="direct.req.declined"
    )
    one.run()
    two.run()
    assert (booted.stopped, three.typed) == (True, [])
    assert campaign.problems() == ["vm3: not refused by direct.req.declined"]
    booted.refusals["direct.req.declined"] = 1
    assert campaign.problems() == []


def test_a_page_that_another_vm_owns_is_not_for_op_tee(ffabric):
    sps = [sp("op-tee")]
    session = ffabric.boot(sps=sps, vms=["victim"], pes=2)
    booted = session.system
    (memory, *_) = booted.endpoint("victim").spec.memory
    ended = []
    forger = FfaForger(memory.pa, lambda: ended.append(True))
    booted.create_vm(vm(forger, mem_size=1 << 20))
    with ffabric.refuses("mem.share.not_owned"):
        session.run()
    assert forger.answers == [*forger.expected]
    assert ended == [True]


def test_what_one_has_printed_before_it_was_killed_may_be_read_late(killed):
    booted, campaign, (one, two) = begun()
    one.run()
    two.run()
    two.run()  # to its end: it was faster than the signal
    assert killed == [0]
    one.run()
    one.run()
    assert not booted.created
    booted.deaths.append(PartitionCrashed("vm2", "killed by SIGKILL"))
    second(booted)
    assert [draft.name for draft in booted.created] == ["mallory"]
    campaign.killing.forger.answers += ["OK", "EBADADDR"]
    booted.refusals["optee.address"] = 1
    assert campaign.problems() == []


def test_one_that_does_not_die_is_a_problem(killed):
    _, campaign, (one, two) = begun()
    for console in (one, two, one, one):
        console.run()
    two.run()
    assert campaign.problems() == ["vm2 was not killed"]


# OP-TEE as a secure partition


def build(**fields):
    values = {
        "path": "tee.bin",
        "image": b"optee",
        "load_address": 0x0E30_0000,
        "mem_size": 0xD0_0000,
        "cores": 8,
        "threads": 2,
        "guests": 0,
        "console": 0x0904_0000,
        **fields,
    }
    return Build(**values)


@pytest.mark.parametrize("engine", ["qemu", "unicorn"])
def test_a_build_is_a_secure_partition_with_a_manifest_of_its_own(folder, engine):
    linuxes = system.Linuxes(
        KERNEL, software.from_folder(folder), ["linux"], cpus=4, sizes=[256 << 20]
    )
    made = optee.built(build(), engine=engine, vcpus=4)
    spec = system.as_secure_partition(linuxes, made, pes=4)
    (tee,), (linux,) = spec.sps, spec.vms
    assert (tee.engine, tee.vcpus, tee.load_address) == (engine, 4, 0x0E30_0000)
    assert tee.entry == 0x0E30_4000
    assert tee.dtb
    assert tee.manifest.device_regions[0].base_address == 0x0904_0000
    assert not tee.manifest.vm_availability_messages
    assert (spec.hypervisor, linux.vcpus, linux.memory[0].size) == (None, 4, 256 << 20)


def test_a_virtualized_build_hears_of_vms_which_may_have_unequal_memory(folder):
    names = ["vm1", "vm2", "vm3"]
    linuxes = system.Linuxes(
        KERNEL, software.from_folder(folder), names, sizes=[256 << 20, 128 << 20]
    )
    made = optee.built(build(guests=2, console=None), engine="qemu", vcpus=1)
    spec = system.as_secure_partition(linuxes, made, pes=1, hypervisor=True)
    assert int(spec.sps[0].manifest.vm_availability_messages) == 3
    assert (spec.devices, spec.sps[0].manifest.device_regions) == ((), ())
    assert [each.memory[0].size >> 20 for each in spec.vms] == [256, 128, 128]


def test_the_core_in_python_has_a_context_for_each_cpu(folder):
    linuxes = system.Linuxes(KERNEL, software.from_folder(folder), ["linux"], cpus=2)
    spec = system.as_secure_partition(linuxes, optee.in_python(vcpus=2), pes=2)
    assert (spec.sps[0].name, spec.sps[0].vcpus, spec.pes) == ("op-tee", 2, 2)
