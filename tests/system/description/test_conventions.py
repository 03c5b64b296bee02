"""Personalities, waived rules and enforced ones, as a system file and `describe` name them."""

from pathlib import Path
from typing import Any

import pytest

from ffabric.system.description.python import describe
from ffabric.system.description.toml.system import read_system
from ffabric.system.options.problems import SystemErrors
from ffabric.system.spec import SystemSpec


def read(folder: Path, text: str) -> SystemSpec:
    path = folder / "system.toml"
    (folder / "v.py").write_text("class V:\n    program = vector = print\n")
    path.write_text(text + '\n[[vm]]\nname = "v"\npython = "v.py:V"\n')
    return read_system(path)


def test_a_file_names_a_personality_and_rules(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        'personality = ["hafnium", "linux-host"]\n'
        'waive = ["version.late"]\nenforce = ["message.uuid"]',
    )
    assert spec.personality == ("hafnium", "linux-host")
    assert (spec.waive, spec.enforce) == (("version.late",), ("message.uuid",))


def test_one_personality_needs_no_list(tmp_path: Path) -> None:
    assert read(tmp_path, 'personality = "xen"').personality == ("xen",)
    assert describe(vms=["v"], personality="xen").personality == ("xen",)
    assert describe(vms=["v"]).personality == ("spec",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"personality": "hafnum"}, "'hafnum' is not one of spec, hafnium, "),
        ({"personality": "hafnum"}, "did you mean 'hafnium'?"),
        ({"waive": ["mem.donate.mixed_attribute"]}, "did you mean 'mem.donate.mixed_attributes'?"),
        ({"waive": ["mem.share.not_owned"]}, "'mem.share.not_owned' cannot be waived"),
        ({"enforce": ["version.late"]}, "'version.late' is enforced in any system"),
        ({"enforce": ["message.uid"]}, "did you mean 'message.uuid'?"),
        ({"personality": "xen", "hypervisor": False}, "'xen' is about a hypervisor: there is none"),
    ],
)
def test_what_cannot_be_is_said_with_what_was_meant(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SystemErrors) as error:
        describe(vms=["v"], **given)
    assert message in str(error.value)


@pytest.mark.parametrize("key", ["waive", "enforce"])
def test_a_single_rule_is_no_list_of_rules(key: str) -> None:
    given: dict[str, Any] = {key: "version.late"}
    with pytest.raises(TypeError, match="expected a list of rules"):
        describe(vms=["v"], **given)
