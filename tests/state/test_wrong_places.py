"""The state's file in the wrong place: behind a link, in another folder, moved away; and invalid exports."""

from __future__ import annotations

import json
import os
import shutil
import stat

import duckdb
import pytest
from state_values import change_of, intent_of, record_of

from dbt_stripe_sync.model.errors import StateError


def others_may_read(folder):
    return [file.name for file in folder.rglob("*") if file.is_file() and file.stat().st_mode & 0o077]


def test_a_state_behind_a_symbolic_link_is_rewritten_at_its_target(customers, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    customers.cli()
    real = volume / "real.duckdb"
    shutil.move(customers.state, real)
    real.chmod(0o644)
    customers.state.symlink_to(real)
    customers.set(store_values=False)

    ran = customers.cli()

    assert ran.exit_code == 0, ran.text
    assert customers.state.is_symlink()
    assert b"a@example.com" not in real.read_bytes()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert others_may_read(volume) == []


def test_the_log_of_a_state_behind_a_link_is_readable_only_by_its_owner(opened, path, tmp_path):
    real = tmp_path / "volume" / "real.duckdb"
    real.parent.mkdir()
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(real)
    mask = os.umask(0o022)
    try:
        with opened() as state:
            state.put_records([record_of("1")], "run-1")
            state.commit([intent_of(change_of("2"))], [])
            assert (real.parent / "real.duckdb.wal").exists()
            assert others_may_read(real.parent) == []
    finally:
        os.umask(mask)


def test_nothing_is_written_to_a_state_that_was_moved_away_during_a_run(opened, path):
    with opened() as state:
        state.put_records([record_of("1")], "run-1")
        path.rename(path.with_name("away.duckdb"))
        with pytest.raises(StateError, match="state-moved"):
            state.put_records([record_of("2")], "run-1")
        shutil.copy(path.with_name("away.duckdb"), path)
        with pytest.raises(StateError, match="state-moved"):
            state.commit([intent_of(change_of("2"))], [])


@pytest.mark.parametrize("target", ["../../away", "..", "a/b", "a\\b"])
def test_a_targets_name_cannot_lead_to_another_folder(customers, target):
    outputs = {target: {"type": "duckdb", "path": str(customers.warehouse)}}
    (customers.root / "profiles.yml").write_text(json.dumps({"shop": {"target": target, "outputs": outputs}}))

    ran = customers.cli()

    assert ran.exit_code == 2
    assert "error[bad-target-name]" in ran.text
    assert list(customers.root.parent.glob("*.duckdb")) == []


def test_what_is_not_a_file_is_no_state_and_keeps_its_permissions(customers, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)

    ran = customers.cli("run", "--state-path", str(pipe))

    assert ran.exit_code == 2
    assert "error[state-readonly]: the state can't be written: it is not a regular file" in ran.text
    assert pipe.stat().st_mode & 0o777 == 0o666
    assert customers.stripe.count("customer") == 0


def test_a_syncs_name_is_never_used_as_a_path(customers):
    customers.sync("customers", name="../../x", resource="customer", key="id", fields={"email": "email"})
    ran = customers.cli()
    assert (ran.exit_code, "error[bad-name]" in ran.text) == (2, True)


# ── exports ──────────────────────────────────────────────────────────────────────────────────────────────────────

BREAKS = {
    "an intent without its id": ("intents", "UPDATE t SET body = '{}'"),
    "an intent that is not valid JSON": ("intents", "UPDATE t SET body = 'x'"),
    "an intent about another row": ("intents", "UPDATE t SET key = 'other'"),
    "a record without an object": ("records", "UPDATE t SET stripe_id = NULL"),
    "a record with an empty key": ("records", "UPDATE t SET key = ''"),
    "a record whose parameters are a list": ("records", "UPDATE t SET params = '[]'"),
    "a record twice": ("records", "INSERT INTO t SELECT * FROM t"),
    "a record that does not say whether it was removed": ("records", "UPDATE t SET removed = NULL"),
    "no state's id": ("meta", "DELETE FROM t WHERE key = 'state_id'"),
    "a serial that is no number": ("meta", "UPDATE t SET value = 'x' WHERE key = 'serial'"),
    "a table of other columns": ("records", "ALTER TABLE t RENAME COLUMN params TO other"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_an_export_with_an_impossible_row_is_rejected_as_a_whole(opened, path, tmp_path, name):
    export = tmp_path / "export"
    with opened() as state:
        state.put_records([record_of("1")], "run-1")
        state.commit([intent_of(change_of("2"))], [])
        state.export(export)
    path.unlink()
    table, statement = BREAKS[name]
    file = export / f"{table}.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t AS SELECT * FROM read_parquet('{file}')")
        connection.execute(statement)
        connection.table("t").write_parquet(str(file))

    with opened() as state:
        with pytest.raises(StateError) as caught:
            state.import_(export)
        assert caught.value.problems[0].code == "bad-export"
        assert state.summary() == []
        assert list(state.open_intents()) == []


@pytest.mark.parametrize("table", ["records", "meta"])
def test_a_file_that_is_not_parquet_is_not_reported_as_a_disk_problem(opened, path, tmp_path, table):
    export = tmp_path / "export"
    with opened() as state:
        state.put_records([record_of("1")], "run-1")
        state.export(export)
    path.unlink()
    (export / f"{table}.parquet").write_bytes(b"PAR1 garbage PAR1" * 50)
    with opened() as state, pytest.raises(StateError, match="bad-export"):
        state.import_(export)


def test_an_export_is_not_mistaken_for_a_state(customers, tmp_path):
    customers.cli()
    customers.cli("state", "export", str(tmp_path / "export"))
    file = tmp_path / "export" / "records.parquet"
    before = file.read_bytes()

    ran = customers.cli("plan", "--state-path", str(file))

    assert ran.exit_code == 2
    assert "error[state-damaged]" in ran.err
    assert file.read_bytes() == before
