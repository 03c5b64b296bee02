"""Going back: whatever way leads to a position, the run is there as it was."""

import random

import pytest

from ffabric import Partition, System
from ffabric.guests.images import load
from ffabric.session.history import CannotCall, CannotGoBack
from ffabric.session.until import matcher
from ffabric.system.description.python import describe, sp, vm

MAP, ID = 0xC400_0066, 0x8400_0069


class Tally(Partition):
    def __init__(self):
        super().__init__()
        self.order = []

    async def on_direct_request(self, request, ffa):
        self.order.append(request.sender)
        return request.respond(len(self.order))


class Caller(Partition):
    async def main(self, ffa):
        for _ in range(3):
            await ffa.direct_request("tally")
            await ffa.yield_()


def several(**how):
    """Three VMs that ask one service, in an order that is open."""
    vms = [vm(Caller("red")), vm(Caller("green")), vm(Caller("blue"))]
    return System.with_history(sps=[Tally()], vms=vms, **how)


def images():
    """A VM and an SP that are images, under Unicorn."""
    return System.with_history(
        sps=[sp("adder", image=load("adder_smc"))], vms=[vm("client", image=load("client_hvc"))]
    )


def walk(history):
    """Every position from the first, and what there was."""
    history.run()
    end, text = history.position, history.text()
    states = {}
    for position in range(end + 1):
        states[position] = repr(history.goto(position).state())
    assert history.text() == text
    return end, text, states


@pytest.mark.parametrize("make", [lambda: several(seed=1), images], ids=["python", "images"])
def test_a_position_is_the_same_whatever_way_leads_there(make):
    with make() as history:
        end, text, states = walk(history)
        order = random.Random(1)
        for _ in range(12):
            position = order.randrange(end + 1)
            assert repr(history.goto(position).state()) == states[position]
            assert history.position == position
        history.goto(end)
        assert history.text() == text


@pytest.mark.parametrize("pes", [1, 2])
def test_pauses_change_nothing(pes):
    vms = [Caller("red"), Caller("green")]
    runs = []
    for stops in (False, True):
        with System.with_history(sps=[Tally()], vms=vms, pes=pes, seed=3) as history:
            while stops and not history.end:
                history.step()
            history.run()
            runs.append((history.text(), history.system.choices, history.time))
    assert runs[0] == runs[1]


def test_images_are_paused_in_the_middle_of_their_time_slices():
    with images() as paused, images() as whole:
        while not paused.end:
            paused.step()
        whole.run()
        assert paused.text() == whole.text()
        assert paused.time == whole.time


def test_a_python_object_begins_anew_each_time():
    tally = Tally()
    with System.with_history(sps=[tally], vms=[Caller("red")]) as history:
        history.run()
        served = history.system.sp("tally").software.order
        history.goto(0).run()
        assert history.system.sp("tally").software.order == served
        assert not tally.order


def test_calls_from_outside_are_made_again():
    with System.with_history(sps=["s"], vms=["v"]) as history:
        history.run()
        ipa = history.system.vm("v").ram.base
        history.write("v", ipa, b"first")
        assert history.call("v", MAP, ipa, ipa + 0x1000, 1)[0] == 0x8400_0061
        assert history.state()["v rx"] == "empty"
        after = history.position
        assert "v rx" not in history.back().state()
        assert history.system.vm("v").memory.read(ipa, 5) == bytes(5)
        history.goto(after)
        assert history.state()["v rx"] == "empty"
        assert history.system.vm("v").memory.read(ipa, 5) == b"first"


def test_another_call_is_another_future():
    with System.with_history(sps=["s"], vms=["v"]) as history:
        history.run()
        ipa = history.system.vm("v").ram.base
        history.call("v", MAP, ipa, ipa + 0x1000, 1)
        history.back()
        history.call("v", ID)
        history.goto(0).run()
        assert "v rx" not in history.state()


def test_a_partition_that_runs_by_itself_does_not_notice_a_call_in_its_name():
    with several() as history:
        history.run()
        expected = history.system.sp("tally").software.order
        history.goto(0).until("FFA_MSG_SEND_DIRECT_RESP")
        asked = next(
            name for name in ("red", "green", "blue") if history.state()["pe0"][:-2] == name
        )
        answer = history.call(asked, ID)
        assert answer[2] == history.system.vm(asked).id
        with pytest.raises(CannotCall, match="it would lose its PE"):
            history.call(asked, 0x8400_006B)
        with pytest.raises(CannotCall, match="has no PE here"):
            history.call("tally", ID)
        history.run()
        assert history.system.sp("tally").software.order == expected
        assert history.back(2).step(2).text().count("FFA_ID_GET\n") >= 1


def test_until_stops_where_it_happens():
    with System.with_history(sps=["s"], vms=["v"]) as history:
        history.run()
        system = history.system
        ipa, id_ = system.vm("v").ram.base, 1
        assert id_
        history.call("v", MAP, ipa, ipa + 0x1000, 1)
        history.call("v", MAP, ipa, ipa + 0x1000, 1)
        history.goto(0)
        met = history.until("rxtx.map")
        assert met is not None
        assert met.event.rule == "rxtx.map.mapped"  # type: ignore[attr-defined]
        assert history.until("FFA_YIELD") is None
        assert history.end == "nothing can run any more"


def test_why_a_page_is_whose_it_is():
    class Sharer(Partition):
        async def main(self, ffa):
            ipa = ffa.ram.allocate(1)
            handle = await ffa.lend("tally", ipa=ipa)
            await ffa.reclaim(handle)

    with System.with_history(sps=[Tally()], vms=[Sharer("v")]) as history:
        history.run()
        stage2 = history.system.system.endpoint("v").partition.stage2
        page = stage2.pa_of(history.system.vm("v").ram.base)
        told = [(holding.owner, holding.state) for _, holding in history.why(page)]
        assert told[-3:] == [("v", "own"), ("v", "lent"), ("v", "own")]
        history.goto(0)
        met = history.until(hex(page))
        assert met is not None
        assert met.event.kind == "lend"
        assert not history.why(0xDEAD_0000)


def test_moments_are_compared_and_shown_in_notebooks():
    with several() as history:
        first = history.goto(3).state()
        second = history.step(2).state()
        difference = first.diff(second)
        assert difference.rows
        assert "<td>" in first._repr_html_()
        assert repr(difference).startswith("exit 3 -> 5\n")
        assert "->" in repr(difference)
        assert "exit 3 to 5" in difference._repr_html_()


def test_names_with_markup_harm_no_notebook():
    with System.with_history(sps=[], vms=[vm("v")]) as history:
        moment = history.run().state()
        moment._facts["<script>"] = "<b>&"
        assert "<script>" not in moment._repr_html_()


def test_a_system_that_was_read_is_described_already():
    spec = describe(sps=["s"], vms=[])
    with System.with_history(spec) as history:
        assert list(history.system.system.endpoints) == ["s"]
    with pytest.raises(TypeError, match="is described already: vms"):
        System.with_history(spec, vms=["v"])
    with pytest.raises(TypeError, match="is not a SystemSpec"):
        System.with_history("system.toml")  # type: ignore[arg-type]


def test_what_cannot_be_is_refused_by_name():
    with System.with_history(sps=["s"], vms=["v"]) as history:
        with pytest.raises(LookupError, match="there is no partition 'w'"):
            history.call("w", ID)
        with pytest.raises(LookupError, match="v has 1 vCPUs"):
            history.call("v", ID, vcpu=3)
        with pytest.raises(ValueError, match="a run begins at 0"):
            history.goto(-1)
        mistakes = ("mem.share.not_owed", "did you mean"), ("FFA_NOPE", "there is no call")
        for wrong, said in mistakes:
            with pytest.raises(ValueError, match=said):
                matcher(wrong)
        history._qemu = ["linux"]
        history.run()
        with pytest.raises(CannotGoBack, match="linux: what QEMU executes takes wall time"):
            history.goto(0)


def test_an_object_that_cannot_be_copied_is_named():
    class Locked(Partition):
        def __init__(self):
            super().__init__()
            self.generator = (n for n in range(3))

    with pytest.raises(CannotGoBack, match="Python object cannot be copied"):
        System.with_history(sps=[Locked()], vms=[])
