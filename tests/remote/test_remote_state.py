"""A state on an object store: the machine has nothing that the next run needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from object_stores import store_of

from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.state.access import open_state
from dbt_stripe_sync.state.place import RemotePlace, StatePlace
from dbt_stripe_sync.state.remote import replica
from dbt_stripe_sync.state.remote.log import decode

SECRET = "nobody-may-read-this"


def forget(shop):
    """The runner is gone, and what was on its disk with it."""
    shutil.rmtree(shop.root / ".stripe_sync")


def names(objects):
    return sorted(meta["path"] for batch in objects.list() for meta in batch)


def tables_of(path):
    """Every row of every table of a state's file."""
    with duckdb.connect(str(path), read_only=True) as state:
        tables = [name for (name,) in state.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        return {name: state.execute(f'SELECT * FROM "{name}" ORDER BY ALL').fetchall() for name in tables}


def test_a_new_machine_has_every_record(shop, stripe):
    assert shop.cli().exit_code == 0
    forget(shop)
    shop.rows(
        "customers", (1, "a@example.com"), (2, "new@example.com"), (3, "c@example.com"), columns="id int, email text"
    )
    stripe.reset_requests()

    ran = shop.cli()

    assert ran.exit_code == 0, ran.text
    assert len(shop.write_calls()) == 2
    assert stripe.count("customer") == 3


def test_a_finished_run_leaves_one_snapshot_that_the_head_names(shop, objects):
    shop.cli()

    head = json.loads(bytes(objects.get("head.json").bytes()))
    found = names(objects)

    assert head["snapshot"]["name"] in found
    assert [name for name in found if name.startswith("journal/")] == [f"journal/{head['number']:012}"]
    assert json.loads(bytes(objects.get("lease.json").bytes()))["released"]


def test_a_copy_that_is_up_to_date_is_not_downloaded_again(shop, objects):
    shop.cli()
    for name in names(objects):
        if name.startswith("snapshots/"):
            objects.delete(name)

    assert shop.cli("state", "list", "customers").exit_code == 0
    forget(shop)
    ran = shop.cli("state", "list", "customers")
    assert "error[state-incomplete]" in ran.text


def test_a_copy_that_is_damaged_is_downloaded_again(shop, stripe):
    """It is only a copy: the store has everything that it had, so that no state needs to be rebuilt."""
    shop.cli()
    (copy,) = (shop.root / ".stripe_sync").glob("*.remote.duckdb")
    for damaged in (b"no database", copy.read_bytes()[:5000]):
        copy.write_bytes(damaged)

        ran = shop.cli()

        assert ran.exit_code == 0, ran.text
        assert "0 written" in ran.text
    assert stripe.count("customer") == 2


def test_one_machine_can_apply_the_plan_of_another(shop, stripe, tmp_path):
    shop.cli()
    shop.rows("customers", (1, "x@example.com"), (3, "c@example.com"), columns="id int, email text")
    plan = tmp_path / "plan.jsonl"
    assert shop.cli("plan", "--out", str(plan)).exit_code == 0
    forget(shop)

    ran = shop.cli("apply", str(plan))

    assert ran.exit_code == 0, ran.text
    assert stripe.count("customer") == 3


def test_another_machine_can_report_a_run(shop):
    shop.cli()
    forget(shop)

    assert "2 created" in shop.cli("report", "--text").text
    assert "succeeded" in shop.cli("runs").text
    assert str(shop.settings["state"]) in shop.cli("debug").text


def test_records_forgotten_on_one_machine_are_forgotten_on_all(shop, stripe):
    shop.cli()
    assert shop.cli("state", "forget", "customers", "1").exit_code == 0
    forget(shop)

    assert (
        "1"
        not in shop.cli("state", "list", "customers", "--output", "json").out.replace("cus_", "").split('"key":"')[0]
    )
    assert shop.cli().exit_code == 0
    assert stripe.count("customer") == 2


def opened(shop, **options):
    url = shop.settings["state"]
    place = StatePlace(path=shop.root / ".stripe_sync" / "dev.remote.duckdb", remote=RemotePlace(url=url, target="dev"))
    return open_state(place, identity=None, clock=SystemClock(), **options)


def test_the_log_alone_gives_the_same_tables_as_the_machine_that_wrote_it(shop, monkeypatch):
    """A run that could not fold: each of its transactions is replayed, to the last bit."""
    shop.cli()
    with monkeypatch.context() as patched:
        patched.setattr(replica.Replica, "_is_worth_it", lambda _: False)
        shop.rows("customers", (1, "x@example.com"), (3, "c@example.com"), columns="id int, email text")
        shop.cli()
        shop.cli("state", "forget", "customers", "3")
    copy = shop.root / ".stripe_sync" / "dev.remote.duckdb"
    theirs = tables_of(copy)
    forget(shop)

    with opened(shop):
        pass

    assert tables_of(copy) == theirs


def test_a_snapshot_during_a_run_has_everything_written_so_far(shop, monkeypatch, objects, stripe):
    monkeypatch.setattr(replica, "ENTRIES_PER_SNAPSHOT", 1)
    monkeypatch.setattr(replica, "SHARE_OF_SNAPSHOT", 0.0)
    shop.rows("customers", *[(i, f"{i}@example.com") for i in range(40)], columns="id int, email text")
    assert shop.cli().exit_code == 0
    forget(shop)

    assert shop.cli().exit_code == 0
    assert stripe.count("customer") == 40
    # Older ones are kept for people, and not without end.
    assert len([name for name in names(objects) if name.startswith("snapshots/")]) == 3


def test_a_state_without_values_writes_none_to_the_bucket(shop, server, url):
    shop.set(store_values=False)
    shop.rows("customers", *[(i, f"{SECRET}-{i}@example.com") for i in range(5)], columns="id int, email text")

    assert shop.cli().exit_code == 0

    bucket = store_of(url, server.environment)
    kept = [meta["path"] for batch in bucket.list() for meta in batch]
    assert any(name.endswith(".zst") for name in kept)
    for name in kept:
        assert SECRET.encode() not in plain(bytes(bucket.get(name).bytes()), name), name


def plain(body, name):
    """What an object holds, unpacked."""
    if name.endswith(".zst"):
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as packed:
            return packed.read()
    if "/journal/" in name:
        entry, _ = decode(body)
        return repr(entry).encode()
    return body


def test_a_local_state_must_be_moved_and_is_never_ignored(shop, stripe, tmp_path, url):
    shop.settings.pop("state")
    shop.write_project()
    assert shop.cli().exit_code == 0
    shop.set(state=url)

    refused = shop.cli()
    assert refused.exit_code == 2
    assert "error[state-not-moved]" in refused.text
    # What the hint says is what is done.
    local = str(shop.state)
    assert local in refused.text
    assert shop.cli("state", "export", str(tmp_path / "moved"), "--state-path", local).exit_code == 0
    assert shop.cli("state", "import", str(tmp_path / "moved")).exit_code == 0
    forget(shop)

    ran = shop.cli()
    assert ran.exit_code == 0, ran.text
    assert stripe.count("customer") == 2


def test_a_copy_is_not_mistaken_for_the_state(shop, tmp_path):
    shop.cli()
    copy = shop.root / ".stripe_sync" / "dev.remote.duckdb"

    ran = shop.cli("run", "--state-path", str(copy))
    assert ran.exit_code == 2
    assert "error[state-is-copy]" in ran.text
    for looking in (("plan",), ("runs",), ("state", "list")):
        looked = shop.cli(*looking, "--state-path", str(copy))
        assert (looked.exit_code, "error[state-is-copy]" in looked.text) == (2, True)
    # The way back to a file, as its hint says.
    back = tmp_path / "back.duckdb"
    assert shop.cli("state", "export", str(tmp_path / "out")).exit_code == 0
    assert shop.cli("state", "import", str(tmp_path / "out"), "--state-path", str(back)).exit_code == 0
    assert "unchanged" in shop.cli("plan", "--state-path", str(back)).text


def test_a_state_of_an_earlier_format_is_migrated_once_for_all_machines(shop, monkeypatch):
    from dbt_stripe_sync.state import migrations, opening

    shop.cli()
    newer = (*migrations.MIGRATIONS, "CREATE TABLE later(id VARCHAR)")
    migrate = opening.migrate
    monkeypatch.setattr(opening, "migrate", lambda connection, path: migrate(connection, path, newer))
    assert shop.cli().exit_code == 0
    forget(shop)

    with opened(shop):
        pass
    assert "later" in tables_of(shop.root / ".stripe_sync" / "dev.remote.duckdb")
    monkeypatch.undo()
    monkeypatch.setenv("STRIPE_API_KEY", shop.stripe.api_key)


def test_a_run_with_a_local_state_imports_nothing_for_object_stores(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from dbt_stripe_sync.workload import ProjectOptions; import dbt_stripe_sync.state.store, "
        "dbt_stripe_sync.pipeline, dbt_stripe_sync.cli.state; "
        "assert not [m for m in sys.modules if m.startswith(('obstore', 'dbt_stripe_sync.state.remote'))]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path).exists()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("https://bucket/x", "is not the URL of an object store"),
        ("s3://", "has no bucket"),
        ("s3://key:secret@bucket/x", "has more than a bucket and a prefix"),
        ("s3://bucket/../x", "has a prefix that is not a path"),
        ("file://host/x", "is not the path of a folder"),
    ],
)
def test_an_invalid_url_is_refused_with_examples(shop, value, fault):
    shop.set(state=value)
    ran = shop.cli()
    assert ran.exit_code == 2
    assert f"`state` {fault}" in ran.text
    assert "secret" not in ran.text
    shop.settings.pop("state")
    shop.write_project()
    ran = shop.cli("run", "--state-url", value)
    assert ran.exit_code == 2
    assert "error[bad-state-url]" in ran.text


def test_an_unwritable_copy_stops_the_run_without_a_gap_in_the_log(shop, monkeypatch):
    """The log has what the file refused: nothing more is written to either, and the next run replays it."""
    from dbt_stripe_sync.model.errors import StateError

    shop.cli()
    with opened(shop) as state:
        with monkeypatch.context() as patched:

            def fail(*_):
                raise duckdb.IOException("No space left on device")

            patched.setattr(replica, "note_position", fail)
            with pytest.raises(StateError) as refused:
                state.start_run("one", command="run", target="dev")
            assert refused.value.problems[0].code == "state-disk-full"
        with pytest.raises(StateError) as refused:
            state.start_run("two", command="run", target="dev")
        assert refused.value.problems[0].code == "state-unwritable"

    with opened(shop) as state:
        assert state.last_run() == "one"
    forget(shop)
    with opened(shop) as state:
        assert state.last_run() == "one"


def test_a_folder_on_a_full_disk_is_reported_as_full(tmp_path):
    """The store's library has one class for every failure, but the system's own words in its text."""
    program = """if True:
        import resource, signal, sys
        sys.dont_write_bytecode = True  # what is imported later would be cut, too
        from dbt_stripe_sync.model.errors import StateError
        from dbt_stripe_sync.state.place import RemotePlace
        from dbt_stripe_sync.state.remote.objects import open_objects

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = open_objects(RemotePlace(url=f"file://{sys.argv[1]}", target="dev"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        try:
            store.create("head.json", b"x" * 50_000)
        except StateError as error:
            print(error.problems[0].summary)
    """

    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.stdout == "the folder of the state can't be used (file too large)\n", done.stderr
