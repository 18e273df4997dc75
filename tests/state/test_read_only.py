"""A state that can't be written, such as a downloaded artifact, can be read: by a copy, and without its lock."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest


def folder_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.fixture
def read_only(customers, tmp_path, monkeypatch):
    """A project whose state is in a folder that nobody can write to, until `release` is called."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    is_root = os.geteuid() == 0
    if is_root and subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("root may write everywhere, and this one can't mount a file system")
    copies = tmp_path / "temporary"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    customers.set(state_path=str(folder / "dev.duckdb"))
    assert customers.cli().exit_code == 0
    customers.write_calls()

    def protect(*, protected):
        if is_root:
            subprocess.run(["mount", "-o", f"remount,{'ro' if protected else 'rw'}", str(folder)], check=True)
        else:
            folder.chmod(0o500 if protected else 0o700)
            for file in folder.iterdir():
                file.chmod(0o400 if protected else 0o600)

    customers.folder, customers.copies = folder, copies
    customers.release = lambda: protect(protected=False)
    customers.protect = lambda: protect(protected=True)
    customers.protect()
    yield customers
    customers.release()
    if is_root:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("runs",), "succeeded"),
        (("report", "--output", "text"), "3 created"),
        (("state", "list"), "customers"),
        (("state", "show", "customers", "2"), "b@example.com"),
        (("plan",), "customers -> customer"),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else None,
)
def test_commands_that_only_read_work_with_a_state_that_cannot_be_written(read_only, command, said):
    before = folder_of(read_only.folder)

    ran = read_only.cli(*command)

    assert ran.exit_code == 0, ran.text
    assert said in ran.text
    assert "A run holds the state" not in ran.text
    assert folder_of(read_only.folder) == before
    assert not [*read_only.copies.glob("dbt-stripe-sync-copy-*")]


def test_commands_that_write_are_refused(read_only):
    read_only.table("customers", "SELECT id, email, name || '!' AS name FROM customers")

    refused = [read_only.cli(*command) for command in (("run",), ("state", "forget", "customers", "1"), ("retry",))]

    for ran in refused:
        assert (ran.exit_code, "error[state-readonly]" in ran.text) == (2, True), ran.text
    assert read_only.write_calls() == []


def test_a_plan_of_a_state_that_cannot_be_written_is_sent_where_it_can(read_only):
    read_only.table("customers", "SELECT id, email, name || '!' AS name FROM customers")
    plan = str(read_only.root / "plan.jsonl")
    planned = read_only.cli("plan", "--out", plan)
    read_only.release()

    applied = read_only.cli("apply", plan)

    assert planned.exit_code == 0, planned.text
    assert applied.exit_code == 0, applied.text
    assert sorted(customer["name"] for customer in read_only.stripe.objects("customer")) == ["Ann!", "Bob!", "Cem!"]


def test_a_file_that_is_protected_from_writes_stays_protected(customers):
    assert customers.cli().exit_code == 0
    customers.state.chmod(0o444)

    ran = customers.cli("runs")

    assert ran.exit_code == 0, ran.text
    assert stat.S_IMODE(customers.state.stat().st_mode) == 0o400


def test_a_lock_file_that_names_a_process_is_reported(read_only):
    """The state may be held where it can be written, on another machine."""
    read_only.release()
    (read_only.folder / "dev.duckdb.lock").write_text('{"pid": 1, "host": "other", "since": "2026-01-01T00:00:00Z"}')
    read_only.protect()

    ran = read_only.cli("plan")

    assert ran.exit_code == 0, ran.text
    assert "A run holds the state: this plan is made from a copy of it" in ran.text


def test_an_old_copy_of_a_killed_reader_is_removed_and_a_new_one_is_not(read_only):
    old, new = (read_only.copies / f"dbt-stripe-sync-copy-{name}" for name in ("old", "new"))
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)

    assert read_only.cli("runs").exit_code == 0

    assert (old.exists(), new.exists()) == (False, True)


def test_a_state_that_can_neither_be_written_nor_copied_is_named(read_only, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(Path(read_only.copies) / "missing"))

    ran = read_only.cli("runs")

    assert ran.exit_code == 2
    assert (
        "error[state-not-copied]: the state can't be written, and it can't be copied for reading: no such" in ran.text
    )
    assert "TMPDIR" in ran.text
