"""``ffabric vhost``: a file system written through virtio-msg over FF-A to a real back end."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from ffabric.cli.errors import UsageError, check_number
from ffabric.cli.terminal import Progress, Terminal
from ffabric.guests.virtio.vhost_user.device import VhostUserDevice
from ffabric.lab.running import run_to_end
from ffabric.lab.vhost import e2fs, qemu_img, visitor
from ffabric.lab.vhost.copier import Copied, Copier
from ffabric.lab.vhost.system import boot_with
from ffabric.machine.host.interruption import SeveralRuns
from ffabric.machine.host.process import MissingProgram
from ffabric.machine.host.vhost_user.front_end import BackEndLost
from ffabric.machine.host.vhost_user.programs import (
    FILE_SYSTEM,
    FILE_SYSTEM_C,
    STORAGE,
    VSOCK,
    Program,
    file_system_daemon,
    storage_daemon,
    vsock_daemon,
)

_FAILED = 1
_FILES = 24
_LARGEST = 256 << 10
_HEADINGS = ("mapping", "disk", "requests", "shares", "write MB/s", "read MB/s", "e2fsck", "files")
_OTHERS = ("daemon", "mapping", "what came of it")
_MINIMUM: Final = 8
_ECHOED: Final = 256 << 10
_KILL_AT = 0.2
"""The share of the work after which a daemon is killed."""


class _Row(msgspec.Struct):
    """A disk at the end."""

    cells: tuple[str, ...]
    problem: str = ""


def vhost(*, size: int = 16, kill: bool = True, trusted: bool = False, timeout: float = 120) -> int:
    """Write a file system through a VM's driver and an SP to qemu-storage-daemon, and check it.

    Then read a tree of files that virtiofsd serves, and have vhost-device-vsock bring back what is
    sent, as far as these are installed.

    mke2fs makes a file system; a VM writes it to a disk, by virtio-msg over FF-A, whose SP has the
    disk from a daemon over vhost-user; e2fsck and debugfs look at what the daemon has written. Once
    with static and once with dynamic mapping. The daemon is given a static pool, which is a file of
    its own; buffers that are shared one by one are copied for it, unless it is trusted. The second
    disk is of QEMU's own format, which qemu-img checks. Exit status 1 if anything is wrong.

    Parameters
    ----------
    size
        Size of the file system in MiB.
    kill
        Let there be a second daemon, which is killed on the way; the others go on.
    trusted
        Hand over whole banks of memory, so that the daemon reads and writes all buffers itself.
    timeout
        Seconds after which a run is ended.
    """
    if size < _MINIMUM:
        raise UsageError(f"a file system has at least {_MINIMUM} MiB, not {size}")
    check_number("--timeout", timeout, 0)
    terminal = Terminal(sys.stdout)
    say = Progress(terminal).say
    STORAGE.find()
    e2fs.find_programs()
    rows: list[_Row] = []
    others: list[_Row] = []
    runs = SeveralRuns()
    with runs.under_way(), tempfile.TemporaryDirectory(prefix="ffabric-") as name:
        folder = Path(name)
        files = _files(folder / "content")
        source = folder / "source.img"
        e2fs.make(source, folder / "content", size << 20)
        say(f"mke2fs has made {size} MiB of ext4 with {len(files)} files")
        for static in (True, False):
            rows += _run(
                source,
                files,
                static=static,
                kill=kill,
                trusted=trusted,
                timeout=timeout,
                say=say,
            )
        for row in _visits(folder, timeout, say):
            others.append(row)  # noqa: PERF402 - a signal may come between two of them
    with runs.told():
        terminal.line()
        terminal.table([_HEADINGS, *(row.cells for row in rows)])
        terminal.line()
        terminal.table([_OTHERS, *(row.cells for row in others)])
        problems = [row.problem for row in (*rows, *others) if row.problem]
        if runs.interruption is not None:
            problems.append(f"{runs.interruption}: the rest has not been tried")
        return 0 if terminal.verdict(problems) else _FAILED


def _visits(folder: Path, timeout: float, say: Callable[[str], None]) -> Iterator[_Row]:
    """Files and sockets of other daemons, in both mappings; who is not installed is a line."""
    daemons = (
        ("virtiofsd in C", FILE_SYSTEM_C, _visit_files),
        ("virtiofsd in Rust", FILE_SYSTEM, _visit_files),
        ("vhost-device-vsock", VSOCK, _visit_echo),
    )
    for number, (what, program, visit) in enumerate(daemons):
        try:
            program.find()
        except MissingProgram as missing:
            yield _Row((what, "", f"not there: {missing}"))
            continue
        if program is FILE_SYSTEM_C and os.geteuid():
            yield _Row((what, "", "not run: it is for root alone"))
            continue
        for static in (True, False):
            mapping = "static" if static else "dynamic"
            place = folder / f"{mapping}{number}"
            place.mkdir()
            say(f"{what}, {mapping} mapping")
            try:
                problem, done = visit(program, place, static=static, timeout=timeout)
            except BackEndLost as lost:
                problem, done = str(lost), ""
            yield _Row((what, mapping, problem or done), problem and f"{what}: {problem}")


def _visit_files(program: Program, place: Path, *, static: bool, timeout: float) -> tuple[str, str]:
    files = _files(place / "tree")
    (place / "tree" / "below" / "deeper").mkdir(parents=True)
    for name, content in list(files.items())[:3]:
        (place / "tree" / "below" / "deeper" / name).write_bytes(content)
    with file_system_daemon(place / "tree", program=program) as daemon:
        problem = visitor.visit_files(daemon, place / "tree", static=static, timeout=timeout)
    return problem, f"{len(files) + 3} files have the same hash, and one was written"


def _visit_echo(_: Program, place: Path, *, static: bool, timeout: float) -> tuple[str, str]:
    path = place / "vsock"
    with visitor.echoing(Path(f"{path}_{visitor.PORT}")), vsock_daemon(path, cid=visitor.CID) as it:
        problem = visitor.visit_echo(it, _ECHOED, static=static, timeout=timeout)
    return problem, f"{_ECHOED >> 10} KiB have come back"


def _files(folder: Path) -> dict[str, bytes]:
    """Files of all sizes, the same every time."""
    folder.mkdir()
    source = random.Random(0)  # noqa: S311 - content, no secret
    files = {f"file{n}": source.randbytes(source.randrange(_LARGEST)) for n in range(_FILES)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files


def _run(
    source: Path,
    files: dict[str, bytes],
    *,
    static: bool,
    kill: bool,
    trusted: bool,
    timeout: float,
    say: Callable[[str], None],
) -> list[_Row]:
    mapping = "static" if static else "dynamic"
    content = source.read_bytes()
    images = [source.with_name(f"{mapping}-{name}.img") for name in ("disk", "victim")[: 1 + kill]]
    with ExitStack() as stack:
        daemons = []
        for image in images:
            if static:
                image.write_bytes(b"")
                os.truncate(image, len(content))
            else:
                qemu_img.make(image, len(content))
            form = "raw" if static else qemu_img.FORMAT
            try:
                daemon = stack.enter_context(storage_daemon(image, name=image.stem, form=form))
            except BackEndLost as lost:
                raise UsageError(str(lost)) from None
            daemons.append(daemon)
            say(f"qemu-storage-daemon serves {daemon.name} (process {daemon.pid})")
        told = 0.0

        def on_progress(share: float) -> None:
            nonlocal told
            if kill and not daemons[-1].ended and share >= _KILL_AT:
                os.kill(daemons[-1].pid, signal.SIGKILL)
                say(f"process {daemons[-1].pid} is killed: {daemons[-1].name} {daemons[-1].end()}")
            if share >= told + 0.25:
                told = share
                say(f"{mapping} mapping: {share:.0%}")

        copier = Copier(content, static=static, on_progress=on_progress)
        disks = [VhostUserDevice(daemon.front_end, trusted=trusted) for daemon in daemons]
        system = stack.enter_context(boot_with(disks, copier))
        copier.on_end = system.machine.stop
        system.listeners.append(lambda name, line: say(f"{name}: {line}"))
        system.machine.clock.at(int(timeout * 1e9), system.machine.stop)
        outcome = run_to_end(system)
        outcome.raise_interruption()
        if not copier.shares:
            reason = outcome.said or f"it took more than {timeout:g} s"
            return [_Row((mapping, *[""] * (len(_HEADINGS) - 1)), f"{mapping} mapping: {reason}")]
    say(f"{mapping} mapping: done; the daemon has had {disks[0].summary}")
    return [
        _row(copier, disk, image, files, mapping, victim=index > 0)
        for index, (disk, image) in enumerate(zip(copier.disks, images, strict=True))
    ]


def _row(
    copier: Copier,
    disk: Copied,
    image: Path,
    files: dict[str, bytes],
    mapping: str,
    *,
    victim: bool,
) -> _Row:
    name = "victim" if victim else "disk"
    if victim:
        cells = (mapping, name, str(disk.requests), "", "", "", "killed", disk.lost)
        problem = "" if disk.lost else "a daemon was killed, and nobody noticed"
        return _Row(cells, problem and f"{mapping} mapping: {problem}")
    wrong = "" if mapping == "static" else qemu_img.check(image)
    if mapping != "static" and not wrong:
        raw = image.with_suffix(".raw")
        wrong, image = qemu_img.expand(image, raw), raw
    wrong = wrong or e2fs.check(image)
    same = sum(
        e2fs.extract(image, file, image.with_suffix(".file")) == content
        for file, content in files.items()
    )
    megabytes = len(copier.content) / 1e6
    problems = [disk.lost, wrong]
    if same != len(files):
        problems.append(f"only {same} of {len(files)} files have their content")
    if disk.wrong:
        problems.append(f"{disk.wrong} chunks read back as something else")
    problem = next((each for each in problems if each), "")
    cells = (
        mapping,
        name,
        str(disk.requests),
        str(copier.shares),
        f"{megabytes / copier.writing:.0f}",
        f"{megabytes / copier.reading:.0f}",
        wrong or "clean",
        f"{same} of {len(files)} the same",
    )
    return _Row(cells, problem and f"{mapping} mapping: {problem}")
