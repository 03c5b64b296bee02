"""Which daemon of Debian's is started, and what is said if it is not there."""

import pytest
from msgspec.structs import replace

from ffabric.machine.host.vhost_user import programs


@pytest.fixture(autouse=True)
def _nowhere_else(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)


@pytest.fixture
def started(monkeypatch):
    """The command lines of daemons, none of which is started."""
    lines = []
    monkeypatch.setattr(programs, "Daemon", lambda command, **_: lines.append(command))
    return lines


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Says which virtiofsd is there."""

    def those(*names):
        for name in ("FILE_SYSTEM", "FILE_SYSTEM_C"):
            path = tmp_path / name
            if name in names:
                path.touch()
            monkeypatch.setattr(
                programs, name, replace(getattr(programs, name), paths=(str(path),))
            )

    return those


def test_a_daemon_that_only_later_releases_have_says_so():
    line = r"^vhost-device-vsock is not installed: .* vhost-device-vsock \(Debian 13 or later\)$"
    with pytest.raises(programs.MissingProgram, match=line):
        programs.VSOCK.find()
    with pytest.raises(programs.MissingProgram, match=r"install qemu-system-common qemu-utils$"):
        programs.STORAGE.find()


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["FILE_SYSTEM"], ["FILE_SYSTEM", "--sandbox=none"]),
        (["FILE_SYSTEM_C"], ["FILE_SYSTEM_C", "sandbox=chroot"]),
        (["FILE_SYSTEM", "FILE_SYSTEM_C"], ["FILE_SYSTEM", "--sandbox=none"]),
    ],
)
def test_the_virtiofsd_that_is_there_is_taken(install, started, tmp_path, there, taken):
    install(*there)
    programs.file_system_daemon(tmp_path)
    ((program, *options),) = started
    assert [program, options[-1]] == [str(tmp_path / taken[0]), taken[1]]


def test_the_virtiofsd_that_is_asked_for_is_not_replaced_by_the_other(install, started, tmp_path):
    install("FILE_SYSTEM_C")
    with pytest.raises(programs.MissingProgram, match=r"virtiofsd \(Debian 13 or later\)"):
        programs.file_system_daemon(tmp_path, program=programs.FILE_SYSTEM)
    programs.file_system_daemon(tmp_path, program=programs.FILE_SYSTEM_C)
    assert len(started) == 1


def test_of_no_virtiofsd_at_all_the_first_choice_is_named(install, started, tmp_path):
    install()
    with pytest.raises(programs.MissingProgram, match="apt-get install virtiofsd"):
        programs.file_system_daemon(tmp_path)
    assert not started
