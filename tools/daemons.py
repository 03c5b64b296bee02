"""Part of ``make programs``: vhost-user daemons, where the machine's own release has none.

They come from Debian's testing suite with the libraries that they were built for, into a folder of
the user's: nothing is installed, nobody has to be root. Their own loader starts them there.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ffabric.lab.linux.apt import Apt
from ffabric.lab.linux.deb import PackageError
from ffabric.lab.linux.packages import cache_folder, locked
from ffabric.machine.host import process
from ffabric.machine.host.vhost_user.programs import FILE_SYSTEM, VSOCK, Program

SUITE = "testing"
"""The only release so far that has all of them."""
LIBRARIES = ("libc6", "libgcc-s1", "libcap-ng0", "libseccomp2")
COMMAND = "make programs"
_FOLDER = cache_folder().parent / "daemons"
STARTERS = _FOLDER / "bin"
"""The folder with a script for each of them, which starts it."""
_PLACES = ("usr/libexec", "usr/bin", "usr/sbin")


def main() -> int:
    """Get those that are not here. What cannot be got is told; its tests fail.

    With ``--folder``: only print where they are.
    """
    if "--folder" in sys.argv[1:]:
        print(STARTERS)
        return 0
    missing = [each for each in (FILE_SYSTEM, VSOCK) if not _is_here(each)]
    if not missing:
        return 0
    try:
        with locked(_FOLDER, print):
            _get([each for each in missing if not (STARTERS / each.name).exists()])
    except (PackageError, process.MissingProgram, subprocess.CalledProcessError) as error:
        print(f"no {' and no '.join(each.name for each in missing)}: {error}", file=sys.stderr)
    return 0


def _is_here(program: Program) -> bool:
    try:
        program.find()
    except process.MissingProgram:
        return False
    return True


def _get(programs: Sequence[Program]) -> None:
    dpkg, deb = process.find("dpkg", "dpkg"), process.find("dpkg-deb", "dpkg")
    shown = [dpkg, "--print-architecture"]
    architecture = subprocess.run(shown, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
    suite = Apt(_FOLDER, [SUITE], print, architecture).suite(SUITE)
    for program in programs:
        root = _FOLDER / program.name
        shutil.rmtree(root, ignore_errors=True)
        for package in suite.get([*program.packages.split(), *LIBRARIES]):
            subprocess.run([deb, "--extract", package, root], check=True)  # noqa: S603
        _write_starter(program.name, root)


def _write_starter(name: str, root: Path) -> None:
    loader = _only(root, ["usr/lib/*/ld-linux*.so.*", "lib*/ld-linux*.so.*"])
    libraries = _only(root, ["usr/lib/*/libc.so.6", "lib/*/libc.so.6"]).parent
    program = _only(root, [f"{place}/{name}" for place in _PLACES])
    command = shlex.join([str(loader), "--library-path", str(libraries), str(program)])
    STARTERS.mkdir(exist_ok=True)
    starter = STARTERS / name
    starter.write_text(f'#!/bin/sh\nexec {command} "$@"\n', "utf-8")
    starter.chmod(0o755)


def _only(root: Path, patterns: Sequence[str]) -> Path:
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            return path
    raise PackageError(f"there is no {patterns[0]} in the packages")


if __name__ == "__main__":
    sys.exit(main())
