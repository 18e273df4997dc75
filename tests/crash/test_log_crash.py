"""The log in the warehouse, killed at each of its statements: nothing is written twice, lost, or harmful to Stripe."""

from __future__ import annotations

import pytest
from logged import COLUMNS, drop, log_in, people

# More than the log has statements; each of them is a kill.
MOST_STATEMENTS = 200
pytestmark = [pytest.mark.timeout(1_800), pytest.mark.long]
POINTS = ("before a statement of the log", "after a statement of the log")


@pytest.fixture(params=["duckdb", "postgres"])
def logged(request, tmp_path, stripe):
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    business = log_in(request.param, tmp_path / "shop", stripe, server)
    yield business
    drop(business)


@pytest.fixture
def killed(logged, nursery, tmp_path):
    """Runs a command that dies at the nth statement of its log; says whether it lived."""

    def run(nth: int, *command: str, point: str = POINTS[0]) -> bool:
        options = ["--project-dir", str(logged.root), "--profiles-dir", str(logged.root)]
        address = ["--stripe-url", logged.stripe.url]
        environment = {"CRASH_LOG_RUNS_AT_ONCE": "1", "STRIPE_API_KEY": logged.stripe.api_key}
        code = nursery.run(point, nth, [*command, *options, *address], environment, tmp_path / "output.txt")
        assert code in {0, -9}, (tmp_path / "output.txt").read_text()
        return code == 0

    return run


def rows_of(logged):
    """Each table's rows, none where there is no log yet."""
    names = logged.ask("SELECT table_name FROM information_schema.tables WHERE table_name IN ('objects', 'runs')")
    return logged.logs() if len(names) == 2 else {table: [] for table in COLUMNS}


def test_a_log_that_is_killed_at_any_statement_is_caught_up_with_nothing_twice(logged, killed):
    """Three runs to be logged, each in a transaction of its own."""
    logged.settings.pop("log")
    logged.write_project()
    assert logged.cli().exit_code == 0
    people(logged, (1, "x@example.com"), (2, "no address"), (4, "d@example.com"))
    assert logged.cli().exit_code == 1
    logged.rows("plans", ("pro", "m", "Pro"), columns="plan text, term text, name text")
    logged.cli()
    logged.set(log="warehouse")
    assert killed(0, "log", "write", point="none")
    whole = logged.logs()
    assert len(whole["runs"]) == 3

    kills = 0
    for nth in range(1, MOST_STATEMENTS):
        logged.drop_log()
        if killed(nth, "log", "write", point=POINTS[nth % 2]):
            break
        kills += 1
        left = rows_of(logged)
        for table, rows in left.items():
            assert len(set(map(str, rows))) == len(rows), f"{table} has rows twice after kill {nth}"
            assert set(map(str, rows)) <= set(map(str, whole[table]))
        # A run that is there is there with all its changes.
        runs = {row[0] for row in left["runs"]}
        assert [row for row in whole["changes"] if row[0] in runs] == left["changes"]
        assert killed(0, "log", "write", point="none")
        assert logged.logs() == whole, f"after kill {nth}"

    assert kills > 25


def test_runs_that_are_killed_while_they_log_create_nothing_twice_in_stripe_and_lose_no_run(logged, killed):
    """Kills that go on from one another: what is logged grows with each run."""
    kills = 0
    for nth in range(1, 40, 4):
        people(logged, (1, f"a{nth}@example.com"), (nth + 10, "b@example.com"))
        if not killed(nth, "run", point=POINTS[nth // 4 % 2]):
            kills += 1
    people(logged, (1, "a@example.com"), (2, "b@example.com"))
    assert killed(0, "run", point="none")

    objects = {
        key: stripe_id for sync, key, stripe_id in logged.log("objects", "sync, key, stripe_id") if sync == "customers"
    }
    assert set(objects) == {"1", "2"}
    assert set(objects.values()) == {customer["id"] for customer in logged.stripe.objects("customer")}
    assert len(logged.log("runs")) == len(set(logged.log("runs", "run_id"))) == 11
    changes = logged.log("changes", "run_id, number")
    assert len(changes) == len(set(changes))
    creates = [key for key, action in logged.log("changes", "key, action") if action == "create"]
    assert len(creates) == len(set(creates))
    assert kills >= 8
