"""Two runs do not write one trace."""

import errno

import pytest

from ffabric.observe.trace import traced
from ffabric.session.booting import boot


def test_a_trace_that_a_run_writes_is_not_written_by_another(tmp_path):
    path = tmp_path / "t.jsonl"
    with boot(vms=["alice"]) as session, traced(session.system, path):
        with (
            pytest.raises(OSError, match="another run of ffabric writes it") as busy,
            traced(session.system, path),
        ):
            pass
        assert (busy.value.errno, busy.value.filename) == (errno.EBUSY, str(path))
        with traced(session.system, tmp_path / "other.jsonl"):
            pass


def test_a_trace_of_a_former_run_is_no_more(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("what was there\n" * 1000)
    with boot(vms=["alice"]) as session, traced(session.system, path):
        session.vm("alice").ffa.id_get()
    assert path.read_text().startswith("{")
    assert "what was there" not in path.read_text()
