"""A plan of a million changes: its memory use while it is made, and while its first calls leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from business import ROOT

ROWS = 1_000_000
FIRST_CALLS = 100
MOST_MEGABYTES = 1_000
SECONDS = 1_200
MEASURED = """
import resource, sys
from dbt_stripe_sync.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    print(ended.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def start(business, *arguments):
    root = str(business.root)
    options = ["--project-dir", root, "--profiles-dir", root, "--stripe-url", business.stripe.url]
    return subprocess.Popen(
        [sys.executable, "-c", MEASURED, *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def measured(process):
    """The exit code, and the most memory that was in use, in megabytes."""
    told, _ = process.communicate(timeout=SECONDS)
    code, peak = told.splitlines()[-1].split()
    return int(code), int(peak)


@pytest.mark.long
@pytest.mark.timeout(2 * SECONDS)
def test_a_plan_of_a_million_new_objects_is_made_and_begun_in_less_than_a_gigabyte(business, tmp_path, capsys):
    business.table(
        "people",
        "SELECT i AS id, 'user' || i || '@example.com' AS email, 'Name ' || i AS name, md5(i::text) AS note, "
        f"'City ' || i % 500 AS city FROM range({ROWS}) AS t(i)",
    )
    fields = {"email": "email", "name": "name", "metadata.note": "note", "address.city": "city"}
    business.sync("people", resource="customer", key="id", fields=fields)
    plan = tmp_path / "plan.jsonl"

    made, to_make = measured(start(business, "plan", "--out", str(plan)))
    applying = start(business, "apply", str(plan))
    while len(business.stripe.writes()) < FIRST_CALLS:
        assert applying.poll() is None
        time.sleep(0.2)
    applying.send_signal(signal.SIGINT)
    begun, to_begin = measured(applying)

    with capsys.disabled():
        size = plan.stat().st_size >> 20
        print(f"\na plan of {ROWS:,} changes ({size} MB): made in {to_make} MB, begun in {to_begin} MB")
    assert (made, begun) == (0, 1)
    assert business.stripe.count("customer") >= FIRST_CALLS
    assert to_make < MOST_MEGABYTES
    assert to_begin < MOST_MEGABYTES
