"""Faults of the disk, the state, the warehouse and the clock, and the run after each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import timedelta

import duckdb
import pytest
from business import ROOT
from fault_table import BEHIND, CLOCK_BACK, CREATION, DAMAGED, FULL, FULL_EARLY, NEWER, READ_ONLY, WAREHOUSE

from dbt_stripe_sync.sandbox import Fault, Sandbox

MANY = 2_000
# Bytes. The plan takes 3 million, and the log of the state twice as many.
ROOM_FOR_HALF_A_PLAN, ROOM_FOR_THE_PLAN = 700_000, 3_700_000
# A limit on a file's size simulates a full disk: the system refuses the write in the same way.
SMALL_DISK = """
import resource, signal, sys
from dbt_stripe_sync.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
main(sys.argv[2:])
"""


def check_reported(ran, fault):
    assert ran.exit_code == fault.exit_code, ran.text
    assert [text for text in fault.seen if text not in ran.text] == [], ran.text
    assert "Traceback" not in ran.text


def run_on_a_small_disk(business, room):
    root = str(business.root)
    arguments = ["run", "--project-dir", root, "--profiles-dir", root, "--stripe-url", business.stripe.url]
    return subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(room), *arguments],
        env={**os.environ, "STRIPE_API_KEY": Sandbox.api_key, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("room", "fault", "rows", "characters"),
    [(ROOM_FOR_HALF_A_PLAN, FULL_EARLY, 400, 1500), (ROOM_FOR_THE_PLAN, FULL, MANY, 300)],
    ids=["while planning", "while sending"],
)
def test_a_full_disk_ends_the_run_and_loses_nothing(business, room, fault, rows, characters):
    business.table("customers", f"SELECT i AS id, repeat('x', {characters}) || i AS about FROM range({rows}) AS t(i)")
    business.sync("customers", resource="customer", key="id", fields={"description": "about"})

    done = run_on_a_small_disk(business, room)

    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == fault.exit_code, said
    assert [text for text in fault.seen if text not in said] == [], said
    assert list(business.state.parent.glob("*.run/*")) == []
    assert "Traceback" not in said, done.stderr
    assert business.cli().exit_code == 0
    tags = [found["metadata"]["dbt_stripe_sync"] for found in business.stripe.objects("customer")]
    assert len(tags) == len(set(tags)) == rows
    business.write_calls()
    assert business.cli().exit_code == 0
    assert business.write_calls() == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of its own, which only root can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_and_loses_nothing(business, tiny_disk):
    business.set(state_path=str(tiny_disk / "dev.duckdb"))
    business.table("customers", f"SELECT i AS id, repeat('x', 300) || i AS about FROM range({MANY}) AS t(i)")
    business.sync("customers", resource="customer", key="id", fields={"description": "about"})

    ran = business.cli()

    check_reported(ran, FULL)
    subprocess.run(["mount", "-o", "remount,size=100m", str(tiny_disk)], check=True)
    assert business.cli().exit_code == 0
    tags = [found["metadata"]["dbt_stripe_sync"] for found in business.stripe.objects("customer")]
    assert len(tags) == len(set(tags)) == MANY


def test_a_state_folder_that_becomes_read_only_stops_the_run_before_anything_is_sent(shop, tiny_disk):
    shop.business.set(state_path=str(tiny_disk / "dev.duckdb"))
    shop.run()
    shop.business.table("customers", "SELECT id, email, name || '!' AS name FROM customers")
    shop.stripe.reset_requests()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)

    ran = shop.run()

    subprocess.run(["mount", "-o", "remount,rw", str(tiny_disk)], check=True)
    check_reported(ran, READ_ONLY)
    assert shop.stripe.writes() == []
    assert shop.run().exit_code == 0
    assert sorted(found["name"] for found in shop.stripe.objects("customer")) == ["Ann!", "Bob!", "Cem!"]


def test_a_state_that_cannot_be_created_stops_the_run(shop):
    (shop.business.root / ".stripe_sync").write_text("a file where the folder should be")

    ran = shop.run()

    check_reported(ran, READ_ONLY)
    assert shop.stripe.writes() == []
    (shop.business.root / ".stripe_sync").unlink()
    assert shop.run().exit_code == 0
    shop.check_nothing_is_left_open()


@pytest.mark.telling
def test_a_damaged_state_stops_the_run_and_is_rebuilt_from_stripe(shop):
    shop.run()
    state = shop.business.state
    state.write_bytes(os.urandom(20_000))
    damaged = state.read_bytes()
    shop.stripe.reset_requests()

    ran = shop.run()

    check_reported(ran, DAMAGED)
    assert state.read_bytes() == damaged
    assert shop.stripe.writes() == []
    state.unlink()
    assert shop.run("state", "rebuild").exit_code == 0
    assert shop.run().exit_code == 0
    assert shop.creations() == []
    shop.check_nothing_is_left_open()


def test_a_damaged_state_is_replaced_by_a_backup(shop, tmp_path):
    shop.run()
    backup = shutil.copy(shop.business.state, tmp_path / "backup")
    shop.business.state.write_bytes(b"x" * 20_000)

    check_reported(shop.run(), DAMAGED)

    shutil.copy(backup, shop.business.state)
    assert shop.run().exit_code == 0
    shop.check_nothing_is_left_open()


def test_an_older_copy_of_the_state_stops_the_run_before_anything_is_sent(shop, tmp_path):
    shop.run()
    backup = shutil.copy(shop.business.state, tmp_path / "backup")
    shop.business.table("customers", "SELECT * FROM customers UNION ALL SELECT 99, 'z@example.com', 'Zoe'")
    assert shop.run().exit_code == 0
    shutil.copy(backup, shop.business.state)
    shop.stripe.reset_requests()

    ran = shop.run()

    check_reported(ran, BEHIND)
    assert shop.stripe.writes() == []
    assert shop.run("state", "rebuild").exit_code == 0
    assert shop.run().exit_code == 0
    assert shop.creations() == []


def test_a_state_of_a_newer_version_is_left_alone(shop):
    shop.run()
    change_version(shop, "999")
    before = shop.business.state.read_bytes()
    shop.stripe.reset_requests()

    ran = shop.run()

    check_reported(ran, NEWER)
    assert shop.business.state.read_bytes() == before
    assert shop.stripe.writes() == []
    change_version(shop, "-")
    shop.check_nothing_is_left_open()


def change_version(shop, version):
    with duckdb.connect(str(shop.business.state)) as state:
        if version == "-":
            state.execute("UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'was') WHERE key = 'version'")
        else:
            state.execute("INSERT INTO meta SELECT 'was', value FROM meta WHERE key = 'version'")
            state.execute("UPDATE meta SET value = $version WHERE key = 'version'", {"version": version})


@pytest.mark.telling
def test_a_warehouse_that_dies_during_a_read_sends_nothing(shop):
    rows = 500_000
    sync = shop.business.models["customers"]["meta"]["stripe_sync"]
    shop.business.sync("customers", **sync, on_removed="delete", limits={"max_removed": "100%"})
    shop.run()
    kept = shop.business.warehouse.read_bytes()
    shop.business.table(
        "customers",
        f"SELECT i AS id, md5(i::text) || '@example.com' AS email, md5('n' || i) AS name FROM range({rows}) AS t(i)",
    )
    shop.stripe.reset_requests()
    damage(shop.business.warehouse)

    ran = shop.run()

    check_reported(ran, WAREHOUSE)
    assert shop.stripe.writes() == []
    shop.business.warehouse.write_bytes(kept)
    assert shop.run().exit_code == 0
    shop.check_nothing_is_left_open()


def damage(file):
    """Spoil the middle of a file, so that it opens and its first rows can be read."""
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(size // 2)
        opened.write(os.urandom(size // 4))


def test_a_clock_set_back_creates_nothing_twice(shop):
    shop.stripe.inject(Fault.cut(after_effect=True, count=None, **CREATION))
    shop.run()
    shop.stripe.clear_faults()
    shop.clock.move(timedelta(hours=-3))
    shop.stripe.reset_requests()

    ran = shop.run()

    check_reported(ran, CLOCK_BACK)
    assert shop.creations() == []
    shop.check_nothing_is_left_open()


def test_a_clock_set_back_during_a_run_does_not_affect_pacing(shop):
    shop.run()
    shop.clock.move(timedelta(days=-400))
    shop.business.table("customers", "SELECT id, email, name || '!' AS name FROM customers")

    ran = shop.run()

    check_reported(ran, CLOCK_BACK)
    assert sorted(found["name"] for found in shop.stripe.objects("customer")) == ["Ann!", "Bob!", "Cem!"]
    shop.check_nothing_is_left_open()
