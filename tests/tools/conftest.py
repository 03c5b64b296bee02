import pytest
from small_project import SOURCE


@pytest.fixture
def project(tmp_path):
    """A project with a file and a test of it."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/box.py").write_text(SOURCE)
    (tmp_path / "tests/deep").mkdir(parents=True)
    (tmp_path / "tests/deep/test_box.py").write_text("from box import Box\n")
    return tmp_path
