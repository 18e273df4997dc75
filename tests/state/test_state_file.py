"""The state's file: who may open it, and the messages if it can't be opened. Nothing is ever reset."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import duckdb
import pytest
from state_values import MINE, change_of, intent_of, record_of

from dbt_stripe_sync.model.errors import StateError
from dbt_stripe_sync.state.access import open_state
from dbt_stripe_sync.state.migrations import MIGRATIONS, migrate
from dbt_stripe_sync.state.store import StateIdentity

HOLDER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from dbt_stripe_sync.model.clock import SystemClock
    from dbt_stripe_sync.state.access import open_state

    with open_state(Path(sys.argv[1]), identity=None, clock=SystemClock()):
        print("open", flush=True)
        time.sleep(float(sys.argv[2]))
    """
)


def problem_of(caught):
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


@pytest.fixture
def holder(path):
    """Another process that holds the state."""
    running = []

    def start(seconds):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_state_is_created_on_first_use_for_its_owner_only(opened, path):
    with opened() as state:
        state.put_records([record_of()], "run-1")
        assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {
            ".gitignore": "0o644",
            "dev.duckdb": "0o600",
            "dev.duckdb.wal": "0o600",
            "dev.duckdb.lock": "0o600",
        }
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_an_existing_folder_gets_no_gitignore(opened, path):
    path.parent.mkdir()
    with opened():
        pass
    assert not (path.parent / ".gitignore").exists()


def test_the_spill_folder_is_gone_afterwards(opened, path):
    with opened() as state:
        state.workspace.execute("SET memory_limit = '20MB'")
        state.workspace.execute(
            "CREATE TEMP TABLE big AS SELECT md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS t FROM range(1500000) AS r(i)"
        )
        assert list(path.parent.glob("dev.duckdb.tmp/*"))
    assert not (path.parent / "dev.duckdb.tmp").exists()


@pytest.mark.parametrize(
    ("name", "other", "summary"),
    [
        ("account", {"account": "acct_2"}, "the state was made for account `acct_1`, and this is `acct_2`"),
        ("mode", {"livemode": True}, "the state was made for mode `test`, and this is `live`"),
        ("project", {"project": "blog"}, "the state was made for project `shop`, and this is `blog`"),
    ],
)
def test_a_state_of_another_account_mode_or_project_is_refused(opened, name, other, summary):
    with opened():
        pass
    mine = {"project": MINE.project, "account": MINE.account, "livemode": MINE.livemode}
    with pytest.raises(StateError) as caught, opened(identity=StateIdentity(**{**mine, **other})):
        pass
    problem = problem_of(caught)
    assert (problem.code, problem.summary) == (f"state-other-{name}", summary)
    assert "--state-path" in problem.hint


def test_reading_a_state_needs_no_identity(opened):
    with opened() as state:
        state.put_records([record_of()], "run-1")
    with opened(identity=None) as state:
        assert state.summary() == [("customers", "customer", 1)]


def test_a_second_run_says_who_holds_the_state(opened, holder):
    process = holder(60)
    with pytest.raises(StateError) as caught, opened():
        pass
    problem = problem_of(caught)
    assert problem.code == "state-locked"
    assert f"another run holds the state: process {process.pid} on " in problem.summary
    assert " since 20" in problem.summary
    assert "--wait-for-lock" in problem.hint


def test_a_second_run_can_wait(opened, holder):
    holder(0.6)
    with opened(wait_seconds=20) as state:
        assert state.summary() == []


def test_a_killed_run_releases_its_lock(opened, holder):
    process = holder(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with opened() as state:
        assert state.summary() == []


def test_a_duckdb_shell_that_has_the_file_open_is_distinguished_from_a_run(opened, path):
    with opened():
        pass
    code = f"import duckdb, time; c = duckdb.connect({str(path)!r}); print('open', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StateError) as caught, opened():
            pass
        process.kill()
    problem = problem_of(caught)
    assert (problem.code, problem.summary) == ("state-locked", "another program has the state open")


@pytest.mark.parametrize("content", [b"", b"nothing of ours" * 1000, b"SQLite format 3\x00" + b"\x00" * 5000])
def test_a_file_that_is_not_a_state_is_left_unchanged(opened, path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StateError) as caught, opened():
        pass
    problem = problem_of(caught)
    assert problem.code == "state-damaged"
    assert "state rebuild" in problem.hint
    assert path.read_bytes() == content


def test_a_foreign_duckdb_file_is_left_unchanged(opened, path):
    path.parent.mkdir()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE orders(id INTEGER)")
    with pytest.raises(StateError, match="state-damaged"), opened():
        pass
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("orders",)]


def test_a_truncated_state_is_reported_as_damaged_and_kept(opened, path):
    with opened() as state:
        state.workspace.execute(
            "INSERT INTO records SELECT 'customers', md5(i::VARCHAR), 'customer', 'cus', sha256(i::VARCHAR), '', 1, "
            "NULL, false, false, 'r', now(), now(), NULL, false FROM range(50000) AS t(i)"
        )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateError, match="state-damaged"), opened() as state:
        list(state.list_records("customers"))
    assert path.stat().st_size == len(whole) // 2


def test_a_state_of_a_later_version_is_left_alone(opened):
    with opened() as state:
        state.workspace.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    with pytest.raises(StateError) as caught, opened():
        pass
    problem = problem_of(caught)
    assert problem.code == "state-newer"
    assert "format 99" in problem.summary


def test_a_migration_keeps_a_copy_of_what_was_before(path, opened):
    newer = str(len(MIGRATIONS) + 1)
    with opened() as state:
        state.put_records([record_of()], "run-1")
    with duckdb.connect(str(path)) as connection:
        migrate(connection, path, (*MIGRATIONS, "ALTER TABLE records ADD COLUMN note VARCHAR"))
        assert connection.execute("SELECT key, note FROM records").fetchall() == [("1", None)]
        assert connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchall() == [(newer,)]
    backup = path.with_name(f"dev.duckdb.before-v{newer}")
    assert backup.stat().st_mode & 0o777 == 0o600
    backup.replace(path)
    with opened() as state:
        assert state.record("customers", "1") == record_of()


def test_a_migration_that_fails_changes_nothing(path, opened):
    with opened() as state:
        state.put_records([record_of()], "run-1")
    with duckdb.connect(str(path)) as connection, pytest.raises(StateError, match="state-unwritable"):
        migrate(connection, path, (*MIGRATIONS, "ALTER TABLE records ADD COLUMN note VARCHAR; SELECT error('no')"))
    with opened() as state:
        assert state.record("customers", "1") == record_of()


def test_a_migration_that_does_not_fit_on_the_disk_says_so(path, opened):
    """A failed COMMIT has rolled back, so that a second ROLLBACK fails, too; its error must not hide the reason."""

    class FullDisk:
        def __init__(self, connection):
            self._connection = connection

        def commit(self):
            self._connection.rollback()
            raise duckdb.TransactionException("Failed to commit: Could not write file: No space left on device")

        def __getattr__(self, name):
            return getattr(self._connection, name)

    with opened():
        pass
    with duckdb.connect(str(path)) as connection, pytest.raises(StateError, match="state-disk-full"):
        migrate(FullDisk(connection), path, (*MIGRATIONS, "SELECT 1"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(opened, path):
    path.parent.mkdir(mode=0o500)
    with pytest.raises(StateError, match="state-readonly"), opened():
        pass


def test_a_path_that_cannot_be_a_folder_is_named(tmp_path, clock):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StateError) as caught,
        open_state(tmp_path / "file" / "dev.duckdb", identity=None, clock=clock),
    ):
        pass
    problem = problem_of(caught)
    assert problem.code == "state-readonly"
    assert "--state-path" in problem.hint


FILLER = textwrap.dedent(
    """
    import resource, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from state_values import StoppedClock, change_of, intent_of, outcome_of
    from dbt_stripe_sync.model.errors import StateError
    from dbt_stripe_sync.state.access import open_state

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open_state(Path(sys.argv[1]), identity=None, clock=StoppedClock()) as state:
        state.commit([intent_of(change_of("first"))], [])
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
        try:
            for number in range(1_000):
                state.commit([], [outcome_of(change_of(f"{number}-{i}" + "x" * 1000)) for i in range(20)])
        except StateError as error:
            print(error.problems[0].code)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    """
)


def test_a_full_disk_stops_the_run_and_loses_nothing(opened, path):
    # A limit on a file's size simulates a full disk: the system refuses the write in the same way.
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("state-disk-full\n", "")
    with opened() as state:
        assert list(state.open_intents()) == [intent_of(change_of("first"))]


# ── crashes ──────────────────────────────────────────────────────────────────────────────────────────────────────

WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from state_values import change_of, intent_of, outcome_of, record_of
    from dbt_stripe_sync.model.clock import SystemClock
    from dbt_stripe_sync.state.access import open_state

    with open_state(Path(sys.argv[1]), identity=None, clock=SystemClock()) as state:
        first = int(sys.argv[3])
        for number in range(first, first + 100_000):
            changes = [change_of(f"{number}-{i}") for i in range(20)]
            state.commit([intent_of(change) for change in changes], [])
            print("intents", number, flush=True)
            state.commit([], [outcome_of(change) for change in changes])
            print("records", number, flush=True)
    """
)


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_sigkill_in_mid_commit_loses_no_committed_row(opened, path, kills):
    said_records: set[int] = set()
    said_intents: set[int] = set()
    for attempt in range(kills):
        first = attempt * 1_000_000
        arguments = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent), str(first)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline()
            deadline = time.monotonic() + 0.15 + 0.037 * (attempt % 7)
            lines = [line]
            while time.monotonic() < deadline:
                lines.append(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        for what, number in (line.split() for line in lines if line.endswith("\n")):
            (said_records if what == "records" else said_intents).add(int(number))
        with opened(identity=None) as state:
            records = [record.key for record in state.list_records("customers")]
            intents = [intent.change.key for intent in state.open_intents()]
        groups = {int(key.split("-")[0]) for key in records}
        waiting = {int(key.split("-")[0]) for key in intents}
        assert said_records <= groups, "a record that was committed is gone"
        assert said_intents <= groups | waiting, "an intent that was committed is gone"
        assert len(records) == 20 * len(groups), "half a transaction"
        assert len(intents) == 20 * len(waiting), "half a transaction"
        assert not groups & waiting
    assert said_records
