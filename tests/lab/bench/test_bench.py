"""Benchmarks: that each measures what it says, and what is made of it. How fast is no test."""

import json
import xml.etree.ElementTree as ET
from functools import partial

import msgspec
import pytest

from ffabric.abi.ffa import functions as fid
from ffabric.cli.errors import UsageError
from ffabric.cli.testing import bench as command
from ffabric.lab.bench import measure as runner
from ffabric.lab.bench import plot, report, resident, rigs
from ffabric.lab.bench.benchmark import (
    KIB,
    MILLISECONDS,
    Benchmark,
    Growth,
    Result,
    Rig,
    Sweep,
    Values,
    per_second,
)
from ffabric.lab.bench.catalogue import BENCHMARKS, SWEEPS
from ffabric.lab.bench.images import caller
from ffabric.lab.bench.measure import Effort, grow, measure
from ffabric.lab.bench.software import Meter, NullCaller
from ffabric.system.booting.engines.extras import MissingExtra

ONCE = Effort(runs=1, seconds=0)


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Processes are started by the benchmarks, not by the tests."""
    monkeypatch.setattr(rigs, "_grown_by", lambda engine, partitions: 1024 * partitions)


LINUX = [each for each in BENCHMARKS if each.name.startswith(("linux.", "xtest."))]
OTHERS = [benchmark for benchmark in BENCHMARKS if benchmark not in LINUX]


@pytest.mark.parametrize("benchmark", LINUX, ids=lambda benchmark: benchmark.name)
def test_without_a_kernel_the_command_that_gets_one_is_said(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (result,) = measure(benchmark, ONCE)
    command = benchmark.name.partition(".")[0]
    assert result.needs == f"there is no kernel yet: ffabric {command}"


@pytest.mark.parametrize("benchmark", OTHERS, ids=lambda benchmark: benchmark.name)
def test_each_benchmark_runs(benchmark):
    results = list(measure(benchmark, ONCE))

    assert [result.tracing for result in results] == [False, True][: 1 + benchmark.traced]
    for result in results:
        assert result.values.low == result.values.median == result.values.high > 0


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: f"{sweep.what}-{sweep.name}")
def test_each_sweep_runs(sweep):
    growth = grow(msgspec.structs.replace(sweep, points=sweep.points[:2]), ONCE)

    assert len(growth.values) == 2
    assert all(values.median > 0 for values in growth.values)


def test_names_are_names():
    names = [benchmark.name for benchmark in BENCHMARKS]
    assert len(set(names)) == len(names)
    assert {name.partition(".")[0] for name in names} == {
        "null", "direct", "memory", "optee", "virtio", "boot", "resident", "explain",
        "qemu", "linux", "xtest", "notification", "interrupt", "sp", "fuzz", "explore", "copy",
        "trace", "export",
    }  # fmt: skip


def test_a_run_makes_the_rounds_it_is_asked_for():
    meter = Meter()
    rig = rigs.between("vm", NullCaller(meter), "sp")
    before = rig.system.machine.exits
    assert rig.run(200) > 0
    assert 200 <= rig.system.machine.exits - before <= 202
    rig.close()


@pytest.mark.parametrize("kind", ["sp", "vm"])
@pytest.mark.parametrize("make", [rigs.ready_cycles, partial(rigs.memory_cycles, pages=2)])
def test_cycles_go_in_batches(kind, make):
    rig = make(kind, batch=5)
    rig.run(1)
    before = rig.system.machine.exits
    rig.run(12)
    made = rig.system.machine.exits - before
    assert made - 12 * 5 - 3 * 2 in range(3)
    rig.close()


def test_regions_under_way_are_held_all_the_time():
    rig = rigs.cycles_beside("vm", 10)
    regions = rig.system.firmware.spmc.regions
    rig.run(3)
    assert len(regions.live) == 9
    rig.close()


def test_requests_among_many_go_to_the_last():
    rig = rigs.requests_among(5)
    assert len(rig.system.firmware.spmc.partitions) == 4
    (client,) = rig.system.firmware.hypervisor.partitions.values()
    rig.run(3)
    last = list(rig.system.firmware.spmc.partitions.values())[-1]
    assert last.contexts[0].x[1] == last.id << 16 | client.id  # of its last response
    rig.close()


def test_images_are_counted_in_exits():
    rig = rigs.aarch64_requests("sp")
    rig.run(20)
    switches = rig.system.firmware.monitor.world_switches
    before = rig.system.machine.exits
    rig.run(50)
    assert rig.system.machine.exits - before == 100
    assert rig.system.firmware.monitor.world_switches == switches
    rig.close()


def test_what_was_refused_was_not_measured():
    code = caller([fid.FFA_RX_RELEASE])
    system = rigs.boot(rigs.describe(vms=[rigs.vm(name="caller", image=code)]))
    rig = rigs.counted(system, exits=1)
    rig.run(3)
    with pytest.raises(RuntimeError, match=r"rx\.release\.empty"):
        rig.close()


def test_the_warm_up_finds_how_often_the_work_fits():
    counts = []

    def run(count):
        counts.append(count)
        return count / 100

    benchmark = Benchmark(name="b", what="", unit=per_second("calls"), setup=lambda: Rig(run))
    (result,) = measure(benchmark, Effort(runs=3, seconds=2))

    assert counts == [1, 2, 4, 8, 16, 32, 64, 200, 200, 200]
    assert result.values.runs == [100, 100, 100]


def test_what_takes_no_time_takes_a_tick():
    benchmark = Benchmark(name="b", what="", unit=MILLISECONDS, setup=lambda: Rig(lambda _: 0.0))
    (result,) = measure(benchmark, ONCE)
    assert 0 < result.values.median < 1e-5


def test_what_is_not_time_is_measured_at_once():
    benchmark = Benchmark(name="b", what="", unit=KIB, setup=lambda: Rig(lambda _: 4096.0))
    (result,) = measure(benchmark, Effort(runs=2, seconds=100))
    assert result.values.runs == [4, 4]


def test_a_trace_is_written_within_the_time_of_its_run(monkeypatch):
    flushed = []
    monkeypatch.setattr(runner.Trace, "flush", lambda trace: flushed.append(len(trace.texts)))
    (benchmark,) = [each for each in BENCHMARKS if each.name == "direct.sp-sp"]
    list(measure(benchmark, Effort(runs=2, seconds=0)))
    assert len(flushed) == 3
    assert flushed[0] >= 4


def lacking(*_):
    raise MissingExtra("unicorn", "aarch64")


BARE = Benchmark(name="images", what="", unit=per_second("calls"), setup=lacking, target=9)
LACKING = "unicorn is not installed: pip install 'ffabric[aarch64]'"


def test_what_is_missing_is_said():
    (result,) = measure(BARE, ONCE)
    assert report.rows([result]) == [("images", "-", "-", "-", "calls/s", LACKING)]
    assert report.data([result])["benchmarks"][0]["needs"] == LACKING

    growth = grow(sweep_of("s", ""), ONCE)
    assert (growth.values, growth.needs) == ([], LACKING)
    assert "<polyline" not in plot.svg([growth])


def result(*runs, target=None, tracing=False, unit=MILLISECONDS):
    benchmark = Benchmark(name="b", what="", unit=unit, setup=lacking, target=target)
    return Result(benchmark=benchmark, tracing=tracing, values=Values(list(runs)))


def test_targets():
    rate = per_second("calls")
    assert result(30, unit=rate).reached is None
    assert result(30, 10, 20, unit=rate, target=20).reached
    assert not result(19, unit=rate, target=20).reached
    assert result(7, unit=rate, target=20, tracing=True).reached
    assert result(19, target=20).reached
    assert not result(21, target=20).reached


def test_the_table():
    rows = report.rows([result(1234.5, 2, 3000, target=0.5), result(0.12345, tracing=True)])
    assert rows[0] == ("b", "1,234", "2", "3,000", "ms", "0.5 missed")
    assert rows[1] == ("b, traced", "0.1235", "0.1235", "0.1235", "ms", "")
    first, second, third = report.text(report.HEADINGS, rows).splitlines()
    assert first.split() == list(report.HEADINGS)
    assert second.index("ms") == third.index("ms") == first.index("unit")


def sweep_of(name, what):
    return Sweep(name=name, what=what, axis="n", unit=MILLISECONDS, points=(1, 8), setup=lacking)


def test_the_picture_is_well_formed_and_has_a_panel_for_each_quantity():
    growths = [
        Growth(
            sweep=sweep_of(name, what),
            values=[Values([low]), Values([low * 100, low * 90])],
        )
        for name, what, low in (("a", "t", 1), ("b", "t", 2), ("a <&>", "u", 0.001))
    ]
    root = ET.fromstring(plot.svg(growths, "a machine"))
    shapes = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{shapes}g")) == 2
    words = [text.text for text in root.iter(f"{shapes}text")]
    assert {"T (ms)", "U (ms)", "a <&>"} <= set(words)
    assert words[-1].startswith("a machine. ")
    for guide in (path for path in root.iter(f"{shapes}path") if path.get("class") == "guide"):
        start, end = (tuple(map(float, place.split())) for place in guide.get("d")[1:].split("L"))  # type: ignore[index]
        assert start == (plot.LEFT, plot.HEIGHT - plot.BOTTOM)
        assert plot.LEFT < end[0] <= plot.WIDTH - plot.RIGHT
        assert plot.HEIGHT - plot.BOTTOM > end[1] >= plot.TOP
    lines = [
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        for line in root.iter(f"{shapes}polyline")
    ]
    assert len(lines) == 3
    for (x, y), (next_x, next_y) in lines:
        assert plot.LEFT == x < next_x == plot.WIDTH - plot.RIGHT
        assert plot.HEIGHT - plot.BOTTOM >= y > next_y >= plot.TOP


def test_a_caller_image_makes_its_calls():
    words = memoryview(caller([0x8400_0069], [1, 0x1_0000_0002])).cast("I").tolist()
    assert words[:2] == [0xD280_0D20, 0xF2B0_8000]  # mov x0, #0x69; movk x0, #0x8400, lsl #16
    assert words.count(0xD400_0003) == 2
    back = words.index(0xD400_0003) + 1 - (len(words) - 1)
    assert words[-1] == 0x1400_0000 | back & 0x3FF_FFFF


def test_a_process_says_what_it_grew_by(capsys):
    resident.main("python", 2)
    assert isinstance(json.loads(capsys.readouterr().out), int)


def test_the_command_prints_json(capsys):
    assert command.bench(only=["null.sp", "explain"], runs=1, seconds=0, json="-") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["benchmarks"]] == [
        "null.sp", "explain.registers", "explain.line"
    ]  # fmt: skip
    first = found["benchmarks"][0]
    assert first["runs"] == [first["median"]]
    assert (first["unit"], first["tracing"], first["target"]) == ("calls/s", False, None)
    assert found["growth"] == []


def test_the_command_writes_files_and_prints_a_table(capsys, tmp_path, monkeypatch):
    short = [msgspec.structs.replace(each, points=each.points[:1]) for each in SWEEPS[:1]]
    monkeypatch.setattr(command, "SWEEPS", short)
    data, picture = tmp_path / "bench.json", tmp_path / "bench.svg"
    assert command.bench(only=["null.sp"], runs=1, seconds=0, json=str(data), plot=picture) == 0
    assert capsys.readouterr().out.split()[6] == "null.sp"
    (growth,) = json.loads(data.read_bytes())["growth"]
    assert (growth["axis"], [point["at"] for point in growth["points"]]) == ("pages", [1])
    assert ET.parse(picture).getroot().tag.endswith("svg")


def test_the_command_says_what_is_measured(capsys):
    assert command.bench(only=["direct"], explain=True) == 0
    lines = capsys.readouterr().out.splitlines()
    chosen = [each for each in BENCHMARKS if each.name.startswith("direct")]
    width = max(len(each.name) for each in chosen)
    assert lines == [f"{each.name:{width}}  {each.what}" for each in chosen]


def test_the_command_knows_its_benchmarks():
    with pytest.raises(UsageError, match=r"no benchmark 'null.ps'.*null.sp"):
        command.bench(only=["null.ps"])
    for wrong in ({"runs": 0}, {"seconds": -1.0}):
        with pytest.raises(UsageError):
            command.bench(**wrong)
