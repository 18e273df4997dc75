"""How much memory DuckDB may take: from the machine, or as it is set."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.state.access import open_state
from dbt_stripe_sync.state.memory import MEGABYTE, choose_megabytes, choose_threads, read_megabytes
from dbt_stripe_sync.state.place import StatePlace
from dbt_stripe_sync.state.session import Session


def test_a_containers_memory_limit_applies_if_it_is_below_the_machines(tmp_path):
    (tmp_path / "memory.max").write_text(f"{512 * MEGABYTE}\n")
    assert read_megabytes((tmp_path / "memory.max", tmp_path / "absent")) == 512


def test_a_container_without_a_limit_has_its_machines_memory(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert read_megabytes((tmp_path / "memory.max",)) == read_megabytes(())


@pytest.mark.parametrize(("machine", "chosen"), [(512, 256), (1_200, 300), (65_536, 384)])
def test_duckdb_gets_a_quarter_of_the_memory_within_bounds(machine, chosen, monkeypatch):
    monkeypatch.setattr("dbt_stripe_sync.state.memory.read_megabytes", lambda: machine)
    assert choose_megabytes(None) == chosen


def test_duckdb_gets_the_configured_memory(tmp_path):
    place = StatePlace(path=tmp_path / "state.duckdb", memory_mb=300)
    with open_state(place, identity=None, clock=SystemClock()) as state:
        (limit,) = state.workspace.execute("SELECT current_setting('memory_limit')").fetchone()
    assert limit == "286.1 MiB"


@pytest.mark.parametrize(
    ("megabytes", "available", "chosen"), [(384, 16, 2), (384, 1, 1), (256, 8, 1), (100, 8, 1), (4_000, 16, 16)]
)
def test_a_machine_with_many_cores_has_no_more_threads_than_the_memory_allows(megabytes, available, chosen):
    assert choose_threads(megabytes, available) == chosen


def test_a_state_with_little_memory_uses_one_thread(tmp_path):
    place = StatePlace(path=tmp_path / "state.duckdb", memory_mb=100)
    with open_state(place, identity=None, clock=SystemClock()) as state:
        assert state.workspace.execute("SELECT current_setting('threads')").fetchall() == [(1,)]


def test_a_statement_that_needs_more_memory_runs_again_with_one_thread_and_then_fails(tmp_path):
    place = StatePlace(path=tmp_path / "state.duckdb", memory_mb=64)
    with open_state(place, identity=None, clock=SystemClock()) as state:
        workspace = Workspace(state.workspace)
        workspace.execute("SET threads = 2")
        # A list can't be spilled to disk.
        with pytest.raises(MemoryError):
            workspace.execute("CREATE TABLE work.lists AS SELECT list(range) FROM range(50000000)")

        workspace.execute("CREATE TABLE work.lists AS SELECT list(range) FROM range(50)")


@pytest.fixture
def expecting_few_rows(tmp_path):
    """A workspace that expects few rows, in a state that may take much more memory."""
    place = StatePlace(path=tmp_path / "state.duckdb", memory_mb=600)
    with open_state(place, identity=None, clock=SystemClock()) as state:
        workspace = Workspace(state.workspace)
        workspace.expect_few_rows()
        assert limit_of(workspace) < 65
        yield workspace


def limit_of(workspace):
    """In megabytes."""
    (limit,) = workspace.one("SELECT parse_formatted_bytes(current_setting('memory_limit'))")
    return limit / 1_000_000


# It takes some hundred megabytes, of which none can be spilled to disk.
LIST = "SELECT len(list(range)) AS numbers FROM range(10000000)"


def test_a_statement_gets_all_memory_if_the_small_limit_for_few_rows_is_not_enough(expecting_few_rows):
    assert expecting_few_rows.one(LIST) == (10_000_000,)
    assert limit_of(expecting_few_rows) > 590


def test_rows_are_read_again_if_the_small_limit_for_few_rows_is_not_enough(expecting_few_rows):
    table = pa.table({"number": pa.array(range(10_000_000), pa.int64())})
    opened = []

    def open_reader():
        opened.append(True)
        return table.to_reader()

    query = "CREATE TABLE work.lists AS SELECT len(list(number)) AS numbers FROM incoming"
    expecting_few_rows.fill(query, open_reader)

    assert expecting_few_rows.all("SELECT numbers FROM work.lists") == [(10_000_000,)]
    assert len(opened) == 2


def test_rows_that_are_sorted_get_all_memory_before_the_first_of_them_is_returned(expecting_few_rows):
    rows = [row for batch in expecting_few_rows.batches(f"{LIST} ORDER BY 1") for row in batch]
    assert rows == [{"numbers": 10_000_000}]


def test_expecting_few_rows_leaves_memory_that_is_already_in_use(tmp_path):
    place = StatePlace(path=tmp_path / "state.duckdb", memory_mb=600)
    with open_state(place, identity=None, clock=SystemClock()) as state:
        workspace = Workspace(state.workspace)
        workspace.execute("SET temp_directory = ''")
        workspace.execute("CREATE TABLE work.held AS SELECT uuid() AS id FROM range(10000000)")

        workspace.expect_few_rows()

        assert limit_of(workspace) > 590


SORTED = "SELECT number, text FROM texts ORDER BY text"


@pytest.fixture
def much_to_sort(tmp_path):
    """A state with several threads, and with more text than they can sort in its memory."""
    place = StatePlace(path=tmp_path / "state.duckdb", memory_mb=128)
    with open_state(place, identity=None, clock=SystemClock()) as state:
        state.workspace.execute(
            "CREATE TABLE texts AS SELECT range AS number, repeat(md5(range::VARCHAR), 16) AS text FROM range(400000)"
        )
        state.workspace.execute("CHECKPOINT")
        state.workspace.execute("SET threads = 4")
        with pytest.raises((duckdb.OutOfMemoryException, OSError)), state.workspace.cursor() as cursor:
            cursor.sql(SORTED).to_arrow_reader(1_000).read_all()
        yield state


def test_a_comparison_that_sorts_more_than_its_threads_can_hold_is_sorted_by_one(much_to_sort):
    workspace = Workspace(much_to_sort.workspace)
    assert sum(len(batch) for batch in workspace.batches(SORTED)) == 400_000


def test_results_of_a_run_that_are_more_than_the_threads_can_sort_are_sorted_by_one(much_to_sort, tmp_path):
    session = Session(much_to_sort.workspace, tmp_path / "state.duckdb")
    assert sum(len(batch) for batch in session.batches(SORTED)) == 400_000
