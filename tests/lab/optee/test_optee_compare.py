"""Two OP-TEEs side by side: the Python core, and one that is wrong in something."""

import pytest

from ffabric.abi.optee import ffa as abi
from ffabric.abi.optee.message import Command
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.lab.optee.compare import CLIENT, InvokeTests, differences, python, real

SYSTEM = """
name = "tee"

[[sp]]
name = "optee"
python = "tee.py:Tee"

[[vm]]
name = "other"
python = "tee.py:Other"
"""
CODE = """
from ffabric.guests.optee.ffa.core import OpTee
from ffabric.guests.partition import Partition
from ffabric.lab.optee.compare import InvokeTests


class Tee(OpTee):
    tas = (InvokeTests,)


class Other(Partition):
    pass
"""


def test_the_same_answers_the_same():
    assert differences(python(), python(), rounds=60) == []


def test_a_real_one_is_taken_from_the_file_of_a_system(tmp_path, monkeypatch):
    (tmp_path / "tee.toml").write_text(SYSTEM)
    (tmp_path / "tee.py").write_text(CODE)
    spec = real(tmp_path / "tee.toml")
    assert [each.name for each in spec.vms] == [CLIENT]
    assert differences(spec, python(), rounds=30, seed=1) == []


class Forgetful(OpTee):
    """It says of memory that it does not know that it is busy."""

    async def on_direct_request(self, request, ffa):
        if request.payload[0] == abi.UNREGISTER_SHM:
            return request.respond(0xFFFFFFFC)
        return await super().on_direct_request(request, ffa)


class Strict(InvokeTests):
    """It takes no parameters."""

    async def invoke(self, session, command, params):
        params.expect()


@pytest.mark.parametrize(
    ("core", "where"),
    [
        (lambda: Forgetful(InvokeTests), lambda asked: asked[0] == abi.UNREGISTER_SHM),
        (lambda: OpTee(Strict), lambda asked: asked.command == Command.INVOKE_COMMAND),
    ],
)
def test_what_is_different_is_told(core, where):
    found = differences(python(), python(core()), rounds=150)
    assert found
    assert all(where(each.asked) for each in found)
    assert all(each.first != each.second for each in found)
