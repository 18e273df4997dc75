"""`log: warehouse`: what the tables hold after runs of every kind, on real DuckDB and PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import time

import duckdb
import pytest
from business import by_hand
from logged import people

from dbt_stripe_sync.sandbox.faults import Fault
from dbt_stripe_sync.warehouse.log import WarehouseLog


def ids(stripe, kind):
    return {found["id"] for found in stripe.objects(kind)}


def test_each_row_has_its_stripe_id_in_the_warehouse(logged):
    assert logged.cli().exit_code == 0

    objects = logged.log("objects", "sync, key, resource, stripe_id")
    assert [row[:3] for row in objects] == [
        ("customers", "1", "customer"),
        ("customers", "2", "customer"),
        ("customers", "3", "customer"),
        ("plans", '["pro","m"]', "product"),
        ("plans", '["pro","y"]', "product"),
    ]
    assert {row[3] for row in objects} == ids(logged.stripe, "customer") | ids(logged.stripe, "product")


def test_rows_join_on_the_parts_of_a_key(logged):
    logged.cli()

    array = "[p.plan, p.term]" if logged.profile["type"] == "duckdb" else "ARRAY[p.plan, p.term]"
    log = f'"{logged.schema}_stripe_sync".objects'
    joined = logged.ask(
        f"SELECT p.term, o.stripe_id FROM plans p JOIN {log} o ON o.sync = 'plans' AND o.key_parts = {array}"
    )
    single = "[c.id::text]" if logged.profile["type"] == "duckdb" else "ARRAY[c.id::text]"
    of_one = logged.ask(f"SELECT c.id FROM customers c JOIN {log} o ON o.sync = 'customers' AND o.key_parts = {single}")

    assert sorted(term for term, _ in joined) == ["m", "y"]
    assert sorted(of_one) == [(1,), (2,), (3,)]


def test_a_run_is_logged_with_each_of_its_changes(logged):
    logged.cli()

    ((run_id, *run),) = logged.log("runs")
    assert run[:-1] == ["run", "dev", "succeeded", "acct_sandbox", False, 5, 0, 0, 0, 0]
    changes = logged.log("changes", "run_id, action, status")
    assert changes == [(run_id, "create", "succeeded")] * 5
    assert sorted(number for (number,) in logged.log("changes", "number")) == [1, 2, 3, 4, 5]
    assert run_id in logged.cli("runs").out


def test_an_unchanged_second_run_adds_only_a_row_for_itself(logged):
    logged.cli()
    before = logged.logs()

    logged.cli()

    after = logged.logs()
    assert [after[table] for table in ("objects", "changes", "problems")] == [
        before[table] for table in ("objects", "changes", "problems")
    ]
    assert len(after["runs"]) == 2


def test_writing_the_log_again_changes_nothing(logged):
    logged.cli()
    before = logged.logs()

    written = logged.cli("log", "write")

    assert (written.exit_code, logged.logs()) == (0, before)
    assert "added 0 runs with 0 changes" in written.text


def test_removed_rows_leave_the_objects_or_are_marked(logged):
    logged.cli()
    people(logged, (1, "a@example.com"), (2, "new@example.com"))
    logged.rows("plans", ("pro", "m", "Pro"), columns="plan text, term text, name text")

    assert logged.cli().exit_code == 0

    assert logged.log("objects", "key, is_removed") == [
        ("1", False),
        ("2", False),
        ('["pro","m"]', False),
        ('["pro","y"]', True),
    ]
    _, last = max(logged.log("runs", "started_at, run_id"))
    actions = [(sync, action) for run, _, sync, _, _, _, action, *_ in logged.log("changes") if run == last]
    assert sorted(actions) == [("customers", "delete"), ("customers", "update"), ("plans", "archive")]


def test_rejected_rows_are_logged_by_code_and_key_and_without_values(logged):
    people(logged, (1, "a@example.com"), (2, "no address at all"), (3, "c" * 600 + "@example.com"))
    made = logged.cli()

    assert made.exit_code == 1
    everything = json.dumps([logged.logs(), logged.log("changes", "request_id, error_type, error_code")], default=str)
    assert "example.com" not in everything
    assert "no address" not in everything
    rejected = {(key, code) for _, _, severity, code, _, _, key, _ in logged.log("problems") if severity == "error"}
    failed = {(key, "stripe") for _, _, _, key, _, _, _, status, *_ in logged.log("changes") if status == "rejected"}
    assert {key for key, _ in rejected | failed} == {"2", "3"}
    ((status,),) = logged.log("runs", "status")
    assert status == "partial"


def test_a_log_turned_on_later_includes_all_earlier_runs(logged):
    logged.settings.pop("log")
    logged.write_project()
    logged.cli()
    people(logged, (1, "a@example.com"), (2, "b2@example.com"), (3, "c@example.com"))
    logged.cli()
    assert logged.cli("log", "write").exit_code == 2

    logged.set(log="warehouse")
    written = logged.cli("log", "write")

    assert "added 2 runs with 6 changes" in written.text
    assert [len(logged.log(table)) for table in ("runs", "changes", "objects")] == [2, 6, 5]


def test_a_dropped_table_is_rewritten_in_full(logged):
    logged.cli()
    people(logged, (1, "x@example.com"))
    logged.cli()
    before = logged.logs()
    schema = f'"{logged.schema}_stripe_sync"'
    for table in before:
        logged.do(f"DROP TABLE {schema}.{table}")

        assert logged.cli("log", "write").exit_code == 0

        assert logged.logs() == before


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE {schema}.objects DROP COLUMN stripe_id",
        "DROP TABLE {schema}.problems; CREATE VIEW {schema}.problems AS SELECT 1 AS a",
    ],
)
def test_a_table_that_was_changed_by_hand_is_reported_with_its_way_out(logged, change):
    logged.cli()
    logged.do(*change.format(schema=f'"{logged.schema}_stripe_sync"').split("; "))
    people(logged, (1, "x@example.com"))

    ran = logged.cli()

    assert ran.exit_code == 0
    assert "warning[log-not-written]" in ran.out
    assert "hint: if somebody changed a table of the log, drop that table: the next write creates it again" in ran.out


def test_deleted_rows_of_the_objects_table_are_restored(logged):
    logged.cli()
    before = logged.logs()
    schema = f'"{logged.schema}_stripe_sync"'
    logged.do(f"DELETE FROM {schema}.objects WHERE key = '2'", f"UPDATE {schema}.objects SET stripe_id = 'cus_other'")

    logged.cli("log", "write")

    assert logged.logs() == before


def test_a_run_writes_only_the_objects_that_it_changed(logged, monkeypatch):
    """With a million objects, too, a run reads and writes those of its own changes alone."""
    logged.cli()
    # DuckDB numbers rows anew as it likes.
    places = "key, updated_at::text" if logged.profile["type"] == "duckdb" else "key, ctid::text"
    before = dict(logged.log("objects", places))
    people(logged, (1, "new@example.com"), (3, "c@example.com"), (4, "d@example.com"))

    with monkeypatch.context() as patched:
        patched.setattr(WarehouseLog, "objects", lambda _: pytest.fail("every object of the log was read"))
        ran = logged.cli()

    assert ran.exit_code == 0, ran.text
    after = dict(logged.log("objects", places))
    assert set(after) == {"1", "3", "4", '["pro","m"]', '["pro","y"]'}
    assert {key for key in after if after[key] == before.get(key)} == {"3", '["pro","m"]', '["pro","y"]'}
    # The whole comparison finds nothing left to do.
    logs = logged.logs()
    logged.cli("log", "write")
    assert dict(logged.log("objects", places)) == after
    assert logged.logs() == logs


def test_the_next_change_restores_deleted_rows_of_the_objects_table(logged):
    logged.cli()
    schema = f'"{logged.schema}_stripe_sync"'
    logged.do(f"DELETE FROM {schema}.objects WHERE key = '2'")
    people(logged, (1, "new@example.com"), (2, "b@example.com"), (3, "c@example.com"))

    assert logged.cli().exit_code == 0

    assert [key for (key,) in logged.log("objects", "key")] == ["1", "2", "3", '["pro","m"]', '["pro","y"]']


def test_tables_exist_before_the_first_run(logged):
    written = logged.cli("log", "write")

    assert written.exit_code == 0
    assert all(not rows for rows in logged.logs().values())


def test_the_next_log_drops_a_forgotten_record_from_the_objects_table(logged):
    logged.cli()
    logged.cli("state", "forget", "customers", "2")

    logged.cli("log", "write")

    assert [key for (key,) in logged.log("objects", "key")] == ["1", "3", '["pro","m"]', '["pro","y"]']


def test_the_schema_is_named_as_in_the_settings(logged):
    logged.set(log_schema="Billing log")
    assert logged.cli().exit_code == 0

    assert len(logged.ask('SELECT key FROM "Billing log".objects')) == 5
    logged.cli("log", "source")
    assert 'schema: "Billing log"' in (logged.root / "models" / "stripe_sync_source.yml").read_text()


def test_another_states_log_is_left_alone_until_it_is_taken_over(logged):
    logged.cli()
    before = logged.logs()
    logged.state.unlink()

    ran = logged.cli()

    assert ran.exit_code == 0
    assert "warning[log-not-written]: the log was not written to the warehouse: the schema" in ran.text
    assert "holds the log of another state" in ran.text
    assert logged.logs() == before
    assert logged.cli("log", "write").exit_code == 2

    assert logged.cli("log", "write", "--take-over").exit_code == 0

    assert [len(logged.log(table)) for table in ("runs", "objects")] == [2, 5]
    assert all(adopted for (adopted,) in logged.log("objects", "is_adopted"))


def test_foreign_tables_are_never_touched(logged):
    logged.set(log_schema=logged.schema)
    logged.do("CREATE TABLE runs AS SELECT 1 AS mine")

    ran = logged.cli()

    assert ran.exit_code == 0
    assert "has tables that are not the log's: `runs`" in ran.text
    assert logged.ask("SELECT * FROM runs") == [(1,)]

    logged.set(log_schema="a_schema_of_its_own")

    assert "warning" not in logged.cli().text
    assert len(logged.ask("SELECT * FROM a_schema_of_its_own.runs")) == 2


def test_the_log_of_a_newer_version_is_left_alone(logged):
    logged.cli()
    logged.do(f'UPDATE "{logged.schema}_stripe_sync".log_mark SET format = 99')

    ran = logged.cli()

    assert (ran.exit_code, "written by a newer version" in ran.text) == (0, True)
    assert len(logged.log("runs")) == 1


def test_a_run_without_a_log_imports_none_of_its_code(customers):
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from dbt_stripe_sync import Project, ProjectOptions
        root = Path({str(customers.root)!r})
        Project(ProjectOptions(project_dir=root, profiles_dir=root, stripe_url={customers.stripe.url!r})).run()
        print([name for name in sys.modules if "dbt_stripe_sync" in name and "log" in name.split(".")[-1].split("_")])
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.parametrize(
    ("profile", "what"),
    [
        (
            {"type": "snowflake", "account": "a", "user": "u", "database": "d", "schema": "s"},
            "a profile of type `snowflake`",
        ),
        ({"type": "redshift", "host": "h", "user": "u", "dbname": "d", "schema": "s"}, "a profile of type `redshift`"),
        ({"type": "duckdb", "path": "md:shop"}, "a DuckDB database that is not a local file"),
    ],
)
def test_unsupported_warehouses_are_rejected_before_anything_is_sent(on_duckdb, profile, what):
    on_duckdb.write_profile(profile)

    for command in ("parse", "run"):
        ran = on_duckdb.cli(command)

        assert ran.exit_code == 2
        assert f"error[log-not-supported]: the log can't be written to {what}" in ran.text
        assert "works with postgres, and with duckdb where the database is a file" in ran.text


@pytest.mark.parametrize("settings", [{"log": "files"}, {"log": True}, {"log_schema": "x" * 64}, {"log_schema": ""}])
def test_invalid_settings_are_rejected(on_duckdb, settings):
    on_duckdb.set(**settings)

    assert "error[bad-setting]" in on_duckdb.cli("parse").text


HOLD = """
import sys, time, duckdb
while True:
    try:
        held = duckdb.connect(sys.argv[1]); break
    except duckdb.Error:
        time.sleep(0.05)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_locked_file_is_reported_and_the_next_run_catches_up(on_duckdb):
    """Another process opens the file while the run is sending."""
    on_duckdb.stripe.inject(Fault.latency(3.0, method="post", count=2))
    holder = []

    def hold_once_it_sends():
        while not on_duckdb.stripe.writes():
            time.sleep(0.05)
        command = [sys.executable, "-c", HOLD, str(on_duckdb.warehouse)]
        holder.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        holder[0].stdout.readline()

    watching = threading.Thread(target=hold_once_it_sends)
    watching.start()
    ran = on_duckdb.cli()
    watching.join()
    refused = on_duckdb.cli("log", "write")
    holder[0].communicate("")
    on_duckdb.stripe.clear_faults()

    assert ran.exit_code == 0
    assert (
        f"the log was not written to the warehouse: the database {on_duckdb.warehouse} is held by process" in ran.text
    )
    assert f"process {holder[0].pid} " in ran.text
    assert (refused.exit_code, "error[warehouse-locked]" in refused.text) == (2, True)
    with duckdb.connect(str(on_duckdb.warehouse)) as warehouse:
        assert not warehouse.execute("FROM duckdb_schemas() WHERE schema_name = 'main_stripe_sync'").fetchall()
    assert on_duckdb.cli().exit_code == 0
    assert [len(on_duckdb.log(table)) for table in ("runs", "changes", "objects")] == [2, 5, 5]


def test_locked_tables_do_not_block_the_run(on_postgres, monkeypatch):
    monkeypatch.setattr("dbt_stripe_sync.warehouse.log_postgres.LOCK_SECONDS", 1)
    on_postgres.cli()
    with on_postgres._connect("shop") as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE public_stripe_sync.log_mark IN ACCESS EXCLUSIVE MODE")
        people(on_postgres, (1, "z@example.com"), (2, "b@example.com"), (3, "c@example.com"))

        ran = on_postgres.cli()

    assert (ran.exit_code, "canceling statement due to lock timeout" in ran.text) == (0, True)
    assert on_postgres.cli().exit_code == 0
    assert [len(on_postgres.log(table)) for table in ("runs", "changes", "objects")] == [3, 6, 5]


def test_an_object_that_existed_before_is_marked_as_adopted(logged):
    by_hand(logged, "customers", email="a@example.com")
    logged.sync("customers", resource="customer", key="id", match=["email"], fields={"email": "email"})

    logged.cli()

    assert logged.log("objects", "key, is_adopted")[:2] == [("1", True), ("2", False)]


def test_a_project_without_a_log_explains_how_to_get_one(customers):
    assert "error[no-log]" in customers.cli("log", "write").text

    customers.set(log="warehouse")

    assert customers.cli("log", "write").exit_code == 0
