"""The shell: each command on a run, on a trace, and what it says of mistakes."""

import io

import pytest

from ffabric import Partition, System, Trace
from ffabric.lab.shell.past import Past
from ffabric.lab.shell.shell import Shell
from ffabric.observe.lines import read_lines


class Keeper(Partition):
    async def on_direct_request(self, request, ffa):
        await ffa.console_log("red\x1b[31m\n")
        return request.respond(1)


class Client(Partition):
    async def main(self, ffa):
        ipa = ffa.ram.allocate(1)
        handle = await ffa.share("keeper", ipa=ipa)
        await ffa.direct_request("keeper", 2)
        with pytest.raises(Exception, match="DENIED"):
            await ffa.share("keeper", ipa=ipa)
        await ffa.reclaim(handle)


@pytest.fixture
def said():
    """Do commands on a run: what is printed."""
    history = System.with_history(sps=[Keeper()], vms=[Client()])
    shell = Shell(history, stdout=io.StringIO())

    def do(*commands):
        shell.stdout = io.StringIO()
        for command in commands:
            shell.onecmd(command)
        return shell.stdout.getvalue()

    do.shell = shell  # type: ignore[attr-defined]
    yield do
    history.close()


@pytest.fixture
def past(ffabric, tmp_path):
    """The same run as a trace."""
    system = ffabric.boot(sps=[Keeper()], vms=[Client()], start=False)
    path = tmp_path / "trace.jsonl"
    with Trace(system, path):
        system.run()
    shell = Shell(Past(read_lines(path)), stdout=io.StringIO())

    def do(*commands):
        shell.stdout = io.StringIO()
        for command in commands:
            shell.onecmd(command)
        return shell.stdout.getvalue()

    do.shell = shell  # type: ignore[attr-defined]
    return do


def test_forward_and_back(said):
    assert "at 3\n" in said("step 3")
    assert "at 2\n" in said("back")
    assert "at 5\n" in said("goto 5")
    assert said("run").endswith("(nothing can run any more)\n")


def test_until_a_rule_refuses(said):
    told = said("until mem.share")
    assert "refused by mem.share.not_owned" in told
    assert "it did not happen any more" in said("until mem.share")


def test_who_owned_a_page(said):
    said("run")
    history = said.shell.run
    page = history.system.system.endpoint("client").partition.stage2.pa_of(0x4000_0000)
    lines = said(f"why {page:#x}").splitlines()
    assert lines[-1].endswith(": of client")
    assert ": shared by client" in lines[-2]


def test_registers_memory_and_tables(said):
    said("until FFA_MEM_RECLAIM")
    assert "client.0 state: RUNNING" in said("regs client.0")
    assert "0x40000000" in said("mem client 0x40000000 16")
    assert "SHARED RWX" not in said("stage2 client 0x40000000")
    assert "OWNED RWX" in said("stage2 keeper")
    assert "keeper.0 state" in said("state")


def test_two_positions_are_compared_and_nothing_moves(said):
    said("goto 6")
    told = said("diff 1 3")
    assert "exit 1 -> 3" in told
    assert "keeper.0 state: STARTING under RTM_SP_INIT -> WAITING" in told
    assert said.shell.run.position == 6


def test_a_call_in_the_name_of_a_partition(said):
    said("until FFA_MSG_SEND_DIRECT_RESP")
    assert "x0=0x84000061 x2=0x1\n" in said("call client FFA_ID_GET")


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("nope", "there is no command 'nope': help lists them"),
        ("step x", "'x' is not a number"),
        ("goto", "a number is missing"),
        ("until", "needs a rule, a call or the physical address of a page"),
        ("until mem.shore", "'mem.shore' is not a rule, a call or an address"),
        ("regs nobody.0", "there is no context 'nobody.0'"),
        ("mem client 0xdead0000", "0xdead0000"),
        ("mem client 0 99999", "1 to 4096 are shown"),
        ("mem client", "mem needs an endpoint and an address"),
        ("mem client 0 0", "0 bytes: 1 to"),
        ("mem client 0xffffffffffffffff", "0xffffffffffffffff: translation fault"),
        ("stage2", "stage2 needs an endpoint"),
        ("call client", "call needs an endpoint and registers"),
        ("call client.9 FFA_ID_GET", "client"),
        ("goto -1", "-1 is not a 64-bit number"),
        ("mem clint 0", "did you mean 'client'"),
        ("stage2 clint", "did you mean 'client'"),
        ("call client FFA_NOPE", "there is no call 'FFA_NOPE'"),
        ("call client FFA_ID_GET", "client.0 has no PE here"),
        ("why 0xdead0000", "nothing is known of 0xdead0000"),
        ("diff 1", "diff needs two positions"),
        ("help nope", "there is no command 'nope'"),
        ('until "', "No closing quotation"),
    ],
)
def test_a_mistake_is_one_line(said, command, what):
    told = said(command)
    assert what in told
    assert told.count("\n") == 1
    assert said.shell.failed


def test_escape_codes_of_a_console_do_not_reach_the_terminal(said):
    said("run")
    told = said("list 100")
    assert "\x1b" not in told
    assert "keeper: red\\x1b[31m" in told


def test_names_are_completed(said):
    shell = said.shell
    assert shell.complete_regs("cl") == ["client.0"]
    assert "mem.share.not_owned" in shell.complete_until("mem.share.no")
    assert "FFA_RXTX_MAP" in shell.complete_until("FFA_RXTX")
    assert shell.complete_call("kee") == ["keeper"]


def test_help_lists_the_commands_and_explains_one(said):
    assert "until" in said("help")
    assert said("help until").startswith("until RULE|CALL|PAGE: go on until")


def test_a_trace_is_walked_through_likewise(past):
    assert "refused by mem.share.not_owned" in past("until mem.share")
    assert "FFA_MEM_RECLAIM" in past("until FFA_MEM_RECLAIM", "back", "step")
    assert "client.0 registers: " in past("regs client.0")
    assert "exit 2 -> 9" in past("diff 2 9")
    assert "(the trace ends here)" in past("step 100000")
    assert "FFA_ID_GET" in past("goto 3", "list 5")


def test_a_trace_knows_who_owned_a_page(past):
    past("run")
    assert ": shared by client" in past("why 0x80e00000")


@pytest.mark.parametrize("command", ["mem client 0", "stage2 client", "call client FFA_ID_GET"])
def test_what_a_trace_has_not_is_told(past, command):
    assert "a trace has no memory: ffabric shell SYSTEM --replay TRACE has" in past(command)


def test_a_trace_names_its_contexts_and_endpoints(past):
    shell = past.shell
    assert shell.complete_mem("cl") == ["client"]
    assert shell.complete_regs("") == ["client.0", "keeper.0", "normal-world.0"]


def test_what_a_trace_does_not_come_to_is_told(past):
    assert "(the trace ends here)" in past("until FFA_MEM_DONATE")
    assert past("why 0x10000").count("\n") == 1


def test_a_page_beyond_all_tables_is_not_mapped(said):
    assert "not mapped" in said("stage2 client 0xffffffffffff0000")
