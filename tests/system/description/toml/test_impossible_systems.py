"""System files that ask for what no run could make sense of."""

import pytest

from ffabric import Partition
from ffabric.system.description.python import describe, vm
from ffabric.system.description.toml.system import read_system
from ffabric.system.options.problems import SystemErrors

SYSTEM = """
[[sp]]
name = "server"
python = "ffabric:Partition"
{}
[[vm]]
name = "client"
python = "ffabric:Partition"
{}
"""
DEVICE = """
/dts-v1/;
/ {
    compatible = "arm,ffa-manifest-1.0";
    ffa-version = <0x00010002>;
    uuid = <0x5a7c6d2e 0x5f4b4a8e 0x9a553f9c 0x1f0a7b11>;
    execution-ctx-count = <1>;
    exception-level = <2>;
    execution-state = <0>;
    messaging-method = <0x3>;
    device-regions {
        compatible = "arm,ffa-manifest-device-regions";
        watchdog {
            base-address = <0 0x2a490000>;
            pages-count = <1>;
            attributes = <3>;
            interrupts = <56 0x900>;
        };
    };
};
"""


@pytest.fixture
def problems(tmp_path):
    """Reads a system with further keys of its SP and further tables; what is wrong, and warned."""

    def problems(sp="", tables=""):
        (tmp_path / "device.dts").write_text(DEVICE)
        (tmp_path / "system.toml").write_text(SYSTEM.format(sp, tables))
        try:
            spec = read_system(tmp_path / "system.toml")
        except SystemErrors as error:
            return [f"{each.where}: {each.key}: {each.message}" for each in error.problems]
        return [f"warning: {each.key}: {each.message}" for each in spec.warnings]

    return problems


OF_NOBODY = (
    "is not an interrupt: SGIs and PPIs are 0 to 31, and 1056 to 1119, "
    "SPIs 32 to 1019, and 4096 to 5119"
)


@pytest.mark.parametrize(
    ("intids", "sp", "said"),
    [
        ("3, 29, 56, 1019, 1056, 1119, 4096, 5119", "", None),
        ("1020", "", f"1020 {OF_NOBODY}"),
        ("1120", "", f"1120 {OF_NOBODY}"),
        ("5120", "", f"5120 {OF_NOBODY}"),
        ("56, 57, 56", "", "56 is given twice"),
        ("8", "", "8 is the Schedule Receiver Interrupt"),
        ("56", 'manifest = "device.dts"', "56 is server's, by its manifest"),
        ("57", 'manifest = "device.dts"', None),
    ],
)
def test_interrupts_of_el3_are_there_and_nobody_elses(problems, intids, sp, said):
    found = problems(sp, f"[monitor]\ngroup0 = [{intids}]")
    assert found == ([] if said is None else [f"[monitor]: group0: {said}"])


LOGICAL = "is for EL3: 0xffc0 and on are logical partitions"


@pytest.mark.parametrize(
    ("sp", "tables", "said"),
    [
        ("id = 0xffbf", "", []),
        ("id = 0xffc0", "", [f"[[sp]] server: id: 0xffc0 {LOGICAL}"]),
        ("id = 0xffff", "", [f"[[sp]] server: id: 0xffff {LOGICAL}"]),
        ("", "[spmc]\nid = 0xffbf", []),
        ("", "[spmc]\nid = 0xffc1", [f"[spmc]: id: 0xffc1 {LOGICAL}"]),
        ("[sp.properties]\nauxiliary-id = 0xffbf", "", []),
        (
            "[sp.properties]\nauxiliary-id = 0xffc5",
            "",
            [f"warning: auxiliary-id: ignored: 0xffc5 {LOGICAL}"],
        ),
    ],
)
def test_ids_of_logical_partitions_are_nobody_elses(problems, sp, tables, said):
    assert problems(sp, tables) == said


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('expect = ""', ["[run]: expect: empty text is in every line"]),
        ('fail_on = ["no", ""]', ["[run]: fail_on: empty text is in every line"]),
        ('stop_on = ""', []),
        ("expect = []", []),
        (r'expect = "a\nb"', [r"[run]: expect: 'a\nb' is in no line: a line ends at a line feed"]),
        (r'stop_on = "a\n"', [r"[run]: stop_on: 'a\n' is in no line: a line ends at a line feed"]),
        (r'fail_on = "a\tb"', []),
        (
            'time_limit = "1 hour"',
            ["[run]: time_limit: '1 hour' is not a time such as 2.5 (seconds) or '500 ms'"],
        ),
        ('time_limit = "1 h"', []),
    ],
)
def test_texts_and_limits_of_a_run_can_be_met(problems, keys, said):
    assert problems("", f"[run]\n{keys}") == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_events": -1}, "max_events: -1 is less than 0"),
        ({"max_events": 0}, None),
        ({"time_limit": 0}, "time_limit: 0 is less than 1"),
        ({"time_limit": 1}, None),
        ({"wedged_after": -1}, "wedged_after: -1 is less than 0"),
        ({"wedged_after": 0}, None),
        ({"fail_on": ("",)}, "fail_on: empty text is in every line"),
    ],
)
def test_limits_from_python_can_be_met(given, said):
    if said is None:
        describe(vms=[vm(Partition)], **given)
        return
    with pytest.raises(SystemErrors) as raised:
        describe(vms=[vm(Partition)], **given)
    assert said in str(raised.value)
