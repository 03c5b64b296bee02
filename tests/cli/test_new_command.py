"""``ffabric new``: what it makes runs, passes its tests, and harms nothing that is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ffabric
from ffabric.lab.scaffold.project import make_project

FOLDERS = str(Path(ffabric.__file__).parents[1])


def run_in(folder, *words):
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": FOLDERS},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "my-vault-2"
    make_project(folder, "0.2.0")
    return folder


def test_it_tells_the_files_and_what_comes_next(run_afresh):
    status, printed, _ = run_afresh("new", "vault")
    assert status == 0
    assert "vault/partition.py" in printed
    assert printed.splitlines()[-1] == "now: cd vault; pytest"


def test_its_tests_pass(project):
    ended = run_in(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "5 passed" in ended.stdout


def test_its_system_is_sound_and_runs_to_what_it_expects(project):
    for command in ("manifest", "run"):
        ended = run_in(project, "-m", "ffabric.cli.main", command, "system.toml")
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "client: 2 + 3 = 5" in ended.stdout


def test_its_file_for_ci_runs_what_its_readme_runs(project):
    steps = (project / ".github" / "workflows" / "test.yml").read_text()
    readme = (project / "README.md").read_text()
    for command in ("ffabric run system.toml", "pytest"):
        assert command in steps
        assert command in readme
    assert '"$GITHUB_RUN_NUMBER"' in steps


def test_two_projects_have_services_of_their_own(tmp_path):
    made = [make_project(tmp_path / name, "0.2.0") for name in ("one", "two")]
    uuids = {Path(files[2]).read_text().split("uuid = ")[1].split("\n")[0] for files in made}
    assert len(uuids) == 2


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_is_there_is_not_touched(run_afresh, there):
    at = Path("vault")
    if there == "file":
        at.write_text("mine")
    elif there == "folder":
        at.mkdir()
    else:
        at.symlink_to("nowhere")
    status, _, errors = run_afresh("new", "vault")
    assert status == 2
    assert errors == "ffabric: vault: File exists\n"
    assert sorted(Path().iterdir()) == [at]


@pytest.mark.parametrize("name", ["Vault", "2fast", "a--b", "a_b", "", "true", "client", "sümmé"])
def test_a_name_that_cannot_be_is_refused_in_a_line(run_afresh, name):
    status, _, errors = run_afresh("new", f"./{name}")
    assert status == 2
    assert errors.startswith("ffabric: ")
    assert errors.count("\n") == 1
    assert [*Path().iterdir()] == []


def test_half_a_project_is_taken_away(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        make_project(tmp_path / "vault", "0.2.0")
    assert [*tmp_path.iterdir()] == []
