"""No value that isn't stored remains in the state's file, whatever happens while it is rewritten."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from state_values import MINE, change_of, intent_of, outcome_of, record_of

from dbt_stripe_sync.model.change import Fingerprint
from dbt_stripe_sync.model.fingerprints import Retention
from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.state.migrations import MIGRATIONS, migrate

NOTHING = Retention(default=False, redact=lambda _text, _params: "…")
KILLED_IN_BETWEEN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from state_values import StoppedClock, MINE, change_of, intent_of, outcome_of
from dbt_stripe_sync.model.fingerprints import Retention
from dbt_stripe_sync.state.access import open_state
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
with open_state(Path(sys.argv[1]), identity=None, clock=StoppedClock(), retention=Retention(default=False)) as state:
    state.seal()
    change = change_of()
    state.commit([intent_of(change)], [])
    state.workspace.execute("CHECKPOINT")
    state.commit([], [outcome_of(change, intent_id=f"intent-{change.id}")])
"""


@pytest.fixture
def without_values(opened):
    """A state that stores no values, opened as a run opens it."""

    def open_():
        return opened(identity=MINE, retention=NOTHING)

    return open_


def send(state, key="1"):
    change = change_of(key)
    state.commit([intent_of(change)], [])
    # As DuckDB does by itself in a long run: from now on the values are in the file, and not only in its log.
    state.workspace.execute("CHECKPOINT")
    state.commit([], [outcome_of(change, intent_id=f"intent-{change.id}")])


def files(path):
    return {found.name: found.read_bytes() for found in path.parent.iterdir() if found.is_file()}


def has_values(path):
    return [name for name, data in files(path).items() if b"@example.com" in data]


def test_values_of_settled_changes_are_nowhere_in_the_file(without_values, path):
    with without_values() as state:
        state.seal()
        send(state)
        assert isinstance(state.record("customers", "1").params["email"], Fingerprint)

    assert state.left is None
    assert has_values(path) == []
    assert path.stat().st_mode & 0o077 == 0
    with without_values() as state:
        assert [record.key for record in state.list_records("customers")] == ["1"]
        assert state.serial > 0


def test_only_open_intents_keep_their_exact_values(without_values, path):
    with without_values() as state:
        state.seal()
        send(state)
        state.commit([intent_of(change_of("2"))], [])

    assert b"1@example.com" not in files(path)[path.name]
    with without_values() as state:
        (intent,) = state.open_intents()
        assert intent.change == change_of("2")
        state.commit([], [outcome_of(intent.change, Status.REJECTED, None, intent_id=intent.id)])
    assert has_values(path) == []


def test_a_run_without_changes_does_not_rewrite_the_file(without_values, path):
    with without_values() as state:
        state.seal()
        send(state)
    before = path.stat().st_ino

    with without_values() as state:
        state.seal()

    assert path.stat().st_ino == before


def test_a_state_that_stores_values_is_not_rewritten(opened, path):
    with opened() as state:
        send(state)
        before = path.stat().st_ino

    assert path.stat().st_ino == before
    assert has_values(path) == [path.name]


def test_a_state_that_cannot_be_rewritten_stays_intact_and_is_rewritten_next_time(without_values, path):
    in_the_way = path.with_name(f"{path.name}.fresh")
    with without_values() as state:
        state.seal()
        send(state)
        in_the_way.mkdir()

    assert state.left is not None
    assert state.left.code == "values-left"
    assert has_values(path) == [path.name]

    in_the_way.rmdir()
    with without_values() as state:
        assert state.record("customers", "1") is not None
    assert state.left is None
    assert has_values(path) == []


def test_a_kill_before_the_new_file_replaces_the_old_one_leaves_it_intact(without_values, path):
    with without_values() as state:
        state.seal()
    command = [sys.executable, "-c", KILLED_IN_BETWEEN, str(path), str(Path(__file__).parent)]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert path.with_name(f"{path.name}.fresh").exists()
    assert has_values(path) == [path.name]

    with without_values() as state:
        assert [record.key for record in state.list_records("customers")] == ["1"]

    assert has_values(path) == []
    assert not path.with_name(f"{path.name}.fresh").exists()


def test_a_state_of_the_first_format_keeps_its_values_and_its_backup(opened, path):
    path.parent.mkdir()
    with duckdb.connect(str(path)) as connection:
        migrate(connection, path, MIGRATIONS[:1])
        connection.execute(
            "INSERT INTO records VALUES ('customers', '1', 'customer', 'cus_1', '{\"email\":\"1@example.com\"}', "
            "'abc', 1, NULL, false, false, 'r', now(), now())"
        )
        connection.execute(
            "INSERT INTO runs(id, command, target, status, started_at) VALUES ('r','run','dev','succeeded',now())"
        )

    with opened() as state:
        record = state.record("customers", "1")
        state.put_records([record_of("2")], "r")

    assert record.params == {"email": "1@example.com"}
    assert path.with_name(f"{path.name}.before-v{len(MIGRATIONS)}").exists()
    with opened() as state:
        assert [record.key for record in state.list_records("customers")] == ["1", "2"]


def test_an_export_of_the_first_format_can_be_imported(opened, path, tmp_path):
    path.parent.mkdir()
    folder = tmp_path / "export"
    folder.mkdir()
    with duckdb.connect(str(path)) as connection:
        migrate(connection, path, MIGRATIONS[:1])
        connection.execute(
            "INSERT INTO records VALUES ('customers', '1', 'customer', 'cus_1', '{}', 'abc', 1, NULL, false, false, "
            "'r', now(), now())"
        )
        for table in ("meta", "records", "intents", "runs", "outcomes"):
            connection.table(table).write_parquet(str(folder / f"{table}.parquet"))
    path.unlink()

    with opened(identity=None) as state:
        assert state.import_(folder) == 1
    with opened() as state:
        state.put_records([record_of("2")], "r")
        assert [record.key for record in state.list_records("customers")] == ["1", "2"]
