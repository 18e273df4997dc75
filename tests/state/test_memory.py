"""How much memory DuckDB may take: from the machine, or as it is set."""

from __future__ import annotations

import pytest

from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.state.access import open_state
from dbt_stripe_sync.state.memory import MEGABYTE, choose_megabytes, read_megabytes
from dbt_stripe_sync.state.place import StatePlace


def test_a_container_with_less_than_its_machine_is_what_counts(tmp_path):
    (tmp_path / "memory.max").write_text(f"{512 * MEGABYTE}\n")
    assert read_megabytes((tmp_path / "memory.max", tmp_path / "absent")) == 512


def test_a_container_without_a_limit_has_what_its_machine_has(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert read_megabytes((tmp_path / "memory.max",)) == read_megabytes(())


@pytest.mark.parametrize(("machine", "chosen"), [(512, 256), (1_200, 300), (65_536, 384)])
def test_a_quarter_is_taken_within_bounds(machine, chosen, monkeypatch):
    monkeypatch.setattr("dbt_stripe_sync.state.memory.read_megabytes", lambda: machine)
    assert choose_megabytes(None) == chosen


def test_what_is_set_is_what_duckdb_may_take(tmp_path):
    place = StatePlace(path=tmp_path / "state.duckdb", memory_mb=300)
    with open_state(place, identity=None, clock=SystemClock()) as state:
        (limit,) = state.workspace.execute("SELECT current_setting('memory_limit')").fetchone()
    assert limit == "286.1 MiB"


def test_a_statement_that_needs_more_memory_runs_again_with_one_thread_and_then_fails(tmp_path):
    place = StatePlace(path=tmp_path / "state.duckdb", memory_mb=64)
    with open_state(place, identity=None, clock=SystemClock()) as state:
        workspace = Workspace(state.workspace)
        workspace.execute("SET threads = 2")
        # A list can't be spilled to disk.
        with pytest.raises(MemoryError):
            workspace.execute("CREATE TABLE work.lists AS SELECT list(range) FROM range(50000000)")

        assert workspace.one("SELECT current_setting('threads')") == (2,)
        workspace.execute("CREATE TABLE work.lists AS SELECT list(range) FROM range(50)")
