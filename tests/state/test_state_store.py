"""What the state records, completely or not at all."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from state_values import change_of, intent_of, outcome_of, record_of, report_of

from dbt_stripe_sync.model.calls import StripeFailure
from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.errors import Location, Problem, StateError
from dbt_stripe_sync.model.run import RunStatus, Status

FAILURE = StripeFailure(
    type="card_error", status=402, code="card_declined", decline_code="generic_decline", message="no"
)


def test_an_intent_is_open_until_its_outcome_closes_it(opened):
    change = change_of()
    with opened() as state:
        state.commit([intent_of(change)], [])
    with opened() as state:
        assert list(state.open_intents()) == [intent_of(change)]
        state.commit([], [outcome_of(change)])
        assert list(state.open_intents()) == []
        assert state.record("customers", "1") == record_of()


def test_an_advanced_intent_replaces_its_earlier_version(state, clock):
    change = change_of()
    moved = intent_of(change, step=1, stripe_id="cus_9", key_sent_at=clock.now(), key_spent=True)
    state.commit([intent_of(change)], [])
    state.commit([moved], [])
    assert list(state.open_intents()) == [moved]


def test_an_unknown_outcome_leaves_its_intent_open_and_the_record_unchanged(state):
    change = change_of()
    state.put_records([record_of(params={"email": "old"})], "run-0")
    state.commit([intent_of(change)], [])
    state.commit([], [outcome_of(change, Status.UNKNOWN)])
    assert list(state.open_intents()) == [intent_of(change)]
    assert state.record("customers", "1").params == {"email": "old"}


def test_an_intent_and_its_outcome_can_share_a_commit(state):
    change = change_of()
    state.commit([intent_of(change)], [outcome_of(change)])
    assert list(state.open_intents()) == []
    assert state.record("customers", "1") is not None


def test_a_success_without_a_record_removes_the_rows(state):
    state.put_records([record_of("1"), record_of("2")], "run-0")
    gone = change_of("1", action=Action.DELETE, removed=True, gone=True)
    state.commit([], [outcome_of(gone, record=None)])
    assert [record.key for record in state.list_records("customers")] == ["2"]


def test_a_rejection_without_a_record_leaves_the_row_unchanged(state):
    state.put_records([record_of("1")], "run-0")
    state.commit([], [outcome_of(change_of("1"), Status.REJECTED, failure=FAILURE)])
    assert state.record("customers", "1") == record_of("1")


def test_the_last_outcome_of_a_row_in_one_commit_wins(state):
    made, gone = change_of("1"), change_of("1", action=Action.DELETE, removed=True, gone=True)
    state.commit([], [outcome_of(made), outcome_of(gone, record=None)])
    assert state.record("customers", "1") is None
    state.commit([], [outcome_of(gone, record=None), outcome_of(made)])
    assert state.record("customers", "1") == record_of("1")


def test_a_record_keeps_the_day_on_which_it_was_created(state, clock):
    state.put_records([record_of()], "run-1")
    made = clock.now()
    clock.moment += timedelta(days=3)
    state.put_records([record_of(params={"email": "new"})], "run-2")
    state.workspace.execute("SET TimeZone = 'UTC'")
    rows = state.workspace.sql("SELECT created_at, updated_at, run_id FROM records").to_arrow_table().to_pylist()
    assert rows == [{"created_at": made, "updated_at": clock.now(), "run_id": "run-2"}]


def test_the_same_key_in_two_syncs_is_two_records(state):
    state.put_records([record_of("1", "customers"), record_of("1", "people", stripe_id="cus_x")], "run-1")
    state.commit([], [outcome_of(change_of("1", "people", action=Action.DELETE, gone=True), record=None)])
    assert state.summary() == [("customers", "customer", 1)]


def test_the_serial_increases_with_writes_of_records_and_intents_only(state):
    start = state.serial
    state.start_run("run-1", command="run", target="dev")
    assert state.serial == start
    state.commit([intent_of(change_of())], [])
    assert state.serial > start
    before = state.serial
    state.put_records([record_of()], "run-1")
    written = state.serial
    assert written > before
    assert state.forget("customers", ["1"]) == 1
    assert state.serial > written


def test_a_commit_is_all_or_nothing(state):
    state.put_records([record_of("1")], "run-0")
    bad = outcome_of(change_of("2"), record=record_of("2", params={"price": 1.5}))
    with pytest.raises(TypeError, match="float"):
        state.commit([intent_of(change_of("3"))], [outcome_of(change_of("1"), record=record_of("1", refs="x")), bad])
    assert list(state.open_intents()) == []
    assert state.record("customers", "1") == record_of("1")
    assert state.record("customers", "2") is None


def test_a_failed_write_says_what_is_safe_and_later_writes_continue(state):
    state.workspace.execute("ALTER TABLE outcomes RENAME TO hidden")
    with pytest.raises(StateError) as caught:
        state.commit([intent_of(change_of())], [outcome_of(change_of("2"))])
    problem = caught.value.problems[0]
    assert problem.code == "state-unwritable"
    assert problem.hint.startswith("run again: the state knows everything that was sent")
    state.workspace.execute("ALTER TABLE hidden RENAME TO outcomes")
    state.commit([intent_of(change_of())], [])
    assert len(list(state.open_intents())) == 1


def test_a_commit_of_200_among_100_000_records_is_fast(state):
    state.workspace.execute(
        "INSERT INTO records SELECT 'customers', i::VARCHAR, 'customer', 'cus_' || i, '{}', md5(i::VARCHAR), i, NULL, "
        "false, false, 'r', now(), now(), NULL, false FROM range(100000) AS t(i)"
    )
    keys = [str(number * 499) for number in range(200)]
    changes = [change_of(key) for key in keys]
    started = time.perf_counter()
    state.commit([intent_of(change) for change in changes], [])
    state.commit([], [outcome_of(change) for change in changes])
    took = time.perf_counter() - started
    assert took < 1.0  # 0.03 s on an idle machine
    assert state.summary() == [("customers", "customer", 100_000)]


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_can_be_reported_after_the_state_is_closed(opened, clock):
    problems = (Problem(code="duplicate-key", summary="twice", where=Location(sync="customers", key="9")),)
    change = change_of()
    with opened() as state:
        state.start_run("run-1", command="run", target="dev")
        outcomes = state.outcomes("run-1")
        state.commit([], [outcome_of(change, Status.REJECTED, failure=FAILURE, finished_at=clock.now())])
        state.finish_run(report_of(clock, problems=problems))
        assert [outcome.status for outcome in outcomes] == [Status.REJECTED]
    assert [outcome.change for outcome in outcomes] == [change]
    assert [outcome.failure for outcome in outcomes] == [FAILURE]
    with opened(identity=None) as state:
        report = state.report("run-1")
        assert report.problems == problems
        assert report.counts == report_of(clock).counts
        assert report.header == report_of(clock).header
        assert (report.status, report.requests) == (RunStatus.PARTIAL, 7)
        assert state.report("run-404") is None


def test_a_killed_run_is_shown_as_interrupted_with_its_outcomes(opened, clock):
    with opened() as state:
        state.start_run("run-1", command="run", target="dev")
        state.commit([], [outcome_of(change_of(), finished_at=clock.now())])
    clock.moment += timedelta(hours=1)
    with opened() as state:
        state.start_run("run-2", command="run", target="dev")
        newest, killed = state.runs()
        assert (newest.id, newest.status) == ("run-2", RunStatus.RUNNING)
        assert (killed.id, killed.status, killed.done) == ("run-1", RunStatus.INTERRUPTED, {"succeeded": 1})
        report = state.report("run-1")
        assert (report.header.account, report.header.livemode) == ("acct_1", False)
        assert len(list(report.outcomes)) == 1


def test_a_killed_run_is_not_shown_as_running(opened):
    with opened() as state:
        state.start_run("run-1", command="run", target="dev")
        assert state.runs()[0].status is RunStatus.RUNNING
    with opened() as state:
        assert state.runs()[0].status is RunStatus.INTERRUPTED
        assert state.report("run-1").status is RunStatus.INTERRUPTED


def test_retry_reports_every_row_that_did_not_succeed(state, clock):
    state.start_run("run-1", command="run", target="dev")
    state.commit(
        [],
        [
            outcome_of(change_of("1")),
            outcome_of(change_of("2"), Status.REJECTED, failure=FAILURE),
            outcome_of(change_of("3"), Status.UNKNOWN),
            outcome_of(change_of("4", "prices"), Status.SKIPPED),
        ],
    )
    problem = Problem(code="null-field", summary="no", where=Location(sync="prices", key="5", field="currency"))
    state.finish_run(report_of(clock, problems=(problem, Problem(code="whole", summary="of no row"))))
    assert state.last_rejected() == {"customers": {"2", "3"}, "prices": {"4", "5"}}


def test_retry_of_a_state_without_runs_has_nothing_to_do(state):
    assert state.last_rejected() == {}


def test_outcomes_are_deleted_after_90_days_and_runs_stay(state, clock):
    state.start_run("run-1", command="run", target="dev")
    state.commit([], [outcome_of(change_of(), finished_at=clock.now())])
    state.finish_run(report_of(clock))
    clock.moment += timedelta(days=91)
    state.start_run("run-2", command="run", target="dev")
    assert [run.id for run in state.runs()] == ["run-2", "run-1"]
    assert list(state.outcomes("run-1")) == []


# ── records by hand ──────────────────────────────────────────────────────────────────────────────────────────────


def test_records_can_be_forgotten_and_syncs_renamed(state):
    state.put_records([record_of("1"), record_of("2"), record_of("3")], "run-1")
    assert state.forget("customers", ["1", "3", "404", "1"]) == 2
    state.rename_sync("customers", "people", retag=False)
    assert state.summary() == [("people", "customer", 1)]
    assert state.record("people", "2") == record_of("2", "people")


def test_a_row_that_was_forgotten_is_looked_for_in_stripe_before_it_is_created_again(state):
    state.put_records([record_of("1"), record_of("2")], "run-1")
    state.forget("customers", ["1"])
    state.forget("customers", ["1", "2"])
    state.rename_sync("customers", "people", retag=False)
    rows = state.workspace.sql("SELECT key FROM meta WHERE key LIKE 'forgotten:%' ORDER BY key").to_arrow_table()
    assert rows.column("key").to_pylist() == ["forgotten:people:1", "forgotten:people:2"]


def test_a_state_can_be_restored_from_its_export(opened, path, tmp_path):
    export = tmp_path / "export"
    change = change_of("2")
    with opened() as state:
        state.put_records([record_of("1")], "run-1")
        state.commit([intent_of(change)], [])
        state.export(export)
        known = (state.state_id, state.serial)
    assert {file.name: file.stat().st_mode & 0o777 for file in export.iterdir()} == dict.fromkeys(
        (
            f"{table}.parquet"
            for table in ("meta", "records", "former_ids", "owed", "drifted", "intents", "runs", "outcomes")
        ),
        0o600,
    )
    path.unlink()
    with opened() as state:
        assert state.import_(export) == 1
        assert (state.state_id, state.serial) == known
        assert state.record("customers", "1") == record_of("1")
        assert list(state.open_intents()) == [intent_of(change)]


def test_an_import_never_mixes_two_states(state, tmp_path):
    state.put_records([record_of("1")], "run-1")
    state.export(tmp_path / "export")
    with pytest.raises(StateError, match="state-not-empty"):
        state.import_(tmp_path / "export")


def test_an_import_of_something_else_says_what_is_missing(state, tmp_path):
    with pytest.raises(StateError) as caught:
        state.import_(tmp_path)
    problem = caught.value.problems[0]
    assert problem.code == "bad-export"
    assert "lacks meta.parquet" in problem.summary
