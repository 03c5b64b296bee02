"""Boots of the suite: the system around a build, and what comes out of running it.

A `Bench` is a system with the build's images in it. A job is a boot of them: as they are, with some
of the tests in the list of every image (see `listing`), or with another image of VM1. A test may
take so much virtual time and so many exits; then it hangs, and the boot is over.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ffabric.lab.acs.build import SPMC, VM1, Build
from ffabric.lab.acs.console import Case, Verdict
from ffabric.lab.acs.listing import Listed, Listing, find_listing
from ffabric.lab.acs.witness import Limits, Witness
from ffabric.system.booting.boot import boot
from ffabric.system.description.toml.system import read_parsed
from ffabric.system.files.images import parse_image
from ffabric.system.files.reading import IMAGE, read_bytes
from ffabric.system.spec import ImageSource, PartitionSpec, SystemSpec

LOAD_ADDRESS = 0x8800_0000
MEMORY = 0x20_0000
VM1_ID = 5
UART = "uart2"
_HERE = resources.files(__package__)


class Job(msgspec.Struct, frozen=True):
    """A boot. `name` is that of its files; `tests` what is expected to run.

    `image` is VM1's, if it is another than the build's; `edited`: `tests` are put into the images.
    It ends with the first test that does not pass if `stop_on_failure`.
    """

    name: str
    tests: tuple[Listed, ...] = ()
    image: Path | None = None
    edited: bool = False
    stop_on_failure: bool = False


class Settings(msgspec.Struct, frozen=True):
    """How jobs are run; `logs` is a folder for what they leave."""

    limits: Limits = Limits()
    seed: int | None = None
    logs: Path | None = None


_DEFAULT = Settings()


class Bench(msgspec.Struct, frozen=True):
    """The system of a build, and the list of tests of each of its images, if it has one."""

    spec: SystemSpec
    listings: dict[str, Listing]

    @property
    def tests(self) -> tuple[Listed, ...]:
        """The tests that the images know, nothing if their lists were not found or differ."""
        found = {listing.tests for listing in self.listings.values()}
        whole = len(self.listings) == len(self.spec.partitions)
        return found.pop() if whole and len(found) == 1 else ()


def make_bench(build: Build, personality: Sequence[str] = ()) -> Bench:
    """The system that boots ``build``, under a ``personality`` or several.

    Raises SystemErrors with everything that is wrong.
    """
    root = tomllib.loads((_HERE / "platform.toml").read_text(encoding="utf-8"))
    with resources.as_file(_HERE / "include") as include, resources.as_file(_HERE) as folder:
        vm: dict[str, Any] = {"name": VM1, "image": str(build.images[VM1].absolute())}
        if build.hypervisor:
            vm |= {"id": VM1_ID, "manifest": str(folder / "vm1.dts")}
        else:
            vm |= {"el": 2, "vcpus": 8, "load_address": LOAD_ADDRESS, "mem_size": MEMORY}
        root |= {
            "hypervisor": build.hypervisor,
            "include": [str(include)],
            "spmc": {
                "manifest": str(build.manifests[SPMC].absolute()),
                "exception_level": build.spmc_level,
            },
            "sp": [
                {
                    "name": name,
                    "image": str(build.images[name].absolute()),
                    "manifest": str(build.manifests[name].absolute()),
                }
                for name in build.sps
            ],
            "vm": [vm],
            **({"personality": [*personality]} if personality else {}),
        }
        spec = read_parsed(root, build.folder)
    images = {name: build.images[name] for name in (VM1, *build.sps)}
    found = {name: find_listing(read_bytes(path, IMAGE)) for name, path in images.items()}
    return Bench(spec, {name: listing for name, listing in found.items() if listing})


def run_job(
    bench: Bench,
    job: Job,
    settings: Settings = _DEFAULT,
    on_test: Callable[[Case], object] | None = None,
) -> list[Case]:
    """Boot once. The tests that ran, in order, and those of ``job.tests`` that did not.

    ``on_test`` gets each test that begins. Raises KeyboardInterrupt after Ctrl-C.
    """
    spec = _spec(bench, job)
    with boot(spec, seed=settings.seed) as system:
        witness = Witness(
            system,
            main=VM1,
            uart=UART,
            limits=settings.limits,
            logs=settings.logs,
            name=job.name,
            on_test=on_test,
            stop_on_failure=job.stop_on_failure,
        )
        with witness:
            outcome = witness.run()
            witness.finish(outcome)
        outcome.raise_interruption()
    cases = witness.console.cases
    seen = {case.name for case in cases}
    missing = [each for each in job.tests if each.name not in seen]
    verdict, why = witness.fate
    if cases and not witness.console.ended:
        verdict, why = Verdict.NOT_RUN, f"the run ended in {cases[-1].name}"
    elif not cases and not missing:
        missing = [Listed(0, job.name, "")]
    return cases + [Case(each.name, each.suite, verdict=verdict, end=why) for each in missing]


def _spec(bench: Bench, job: Job) -> SystemSpec:
    spec = bench.spec
    if job.image is not None:
        (vm1,) = spec.vms
        source = ImageSource(str(job.image), parse_image(read_bytes(job.image, IMAGE)))
        return replace(spec, vms=(replace(vm1, source=source),))
    if not job.edited:
        return spec
    return replace(
        spec,
        sps=tuple(_with_tests(each, bench.listings, job.tests) for each in spec.sps),
        vms=tuple(_with_tests(each, bench.listings, job.tests) for each in spec.vms),
    )


def _with_tests(
    spec: PartitionSpec, listings: dict[str, Listing], tests: Sequence[Listed]
) -> PartitionSpec:
    source = spec.source
    assert isinstance(source, ImageSource)
    (part,) = source.image.parts
    data = listings[spec.name].only(part.data, tests)
    image = replace(source.image, parts=(replace(part, data=data),))
    return replace(spec, source=replace(source, image=image))
