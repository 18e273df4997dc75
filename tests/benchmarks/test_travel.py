"""What `diff: warehouse` transfers from the warehouse, by number of changed rows: rows, and bytes as Arrow."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from business import ROOT
from large import measure
from spark_cluster import SPARK_SECONDS, running_spark
from spark_shop import SparkShop, sent_by_executors

pytestmark = [pytest.mark.benchmark_figures, pytest.mark.timeout(8 * SPARK_SECONDS)]
TRAVELLED = str(ROOT / "tests" / "travelled.py")
# Each so-manieth row has changed; None for no row.
EVERY = (None, 1000, 100, 10)
# A first sync makes a call for each row.
SPARK_ROWS = 20_000


def told(rows, came):
    """A sentence of the figures; `came` has the rows and bytes for each of `EVERY`."""
    parts = []
    for every, (read, size) in zip(EVERY, came, strict=True):
        changed = rows // every if every else 0
        # The counts are one row, whatever has changed.
        assert read == changed + 1
        parts.append(f"{changed:,} changed: {read:,} rows, {size:,} bytes")
    return "; ".join(parts)


def test_the_data_transferred_grows_with_the_changed_rows(large, figures, request):
    warehouse = "PostgreSQL" if "PostgreSQL" in request.node.callspec.id else "DuckDB"
    large.business.set(diff="warehouse")
    large.write_state()
    large.run("run")
    root, came = large.business.root, []
    options = ("--project-dir", str(root), "--profiles-dir", str(root), "--stripe-url", large.business.stripe.url)
    for every in EVERY:
        if every:
            large.change(every)
        measure((sys.executable, TRAVELLED, str(root / "came.json"), "--", "plan", *options), root)
        read = json.loads((root / "came.json").read_text())["people"]
        came.append((read["rows"], read["bytes"]))

    figures.say(f"`diff: warehouse` of {large.rows:,} rows in {warehouse}: {told(large.rows, came)}")


def test_the_data_transferred_from_spark_grows_with_the_changed_rows(figures, stripe, tmp_path):
    named = os.environ.get("DBT_STRIPE_SYNC_TEST_ADAPTERS")
    if not named or shutil.which("java") is None:
        pytest.skip("DBT_STRIPE_SYNC_TEST_ADAPTERS names no folder with Spark, or Java is not installed")
    programs, folder = Path(named) / "spark" / "bin", tmp_path / "cluster"
    folder.mkdir()
    built = f"select id, concat('p', id) as name, array(id, null) as tags from range(1, {SPARK_ROWS + 1})"
    fields = {"name": "name", "metadata.tags": "tags"}
    with running_spark(programs, folder, workers=2) as target:
        shop = SparkShop(root=tmp_path / "shop", programs=programs, stripe=stripe, target=target)
        shop.build(built, **fields)
        shop.run("run")
        came, sent = [], []
        for every in EVERY:
            if every:
                shop.build(f"select id, if(id % {every} = 0, '!', '') || name as name, tags from ({built})", **fields)
            ran = shop.run("plan")
            came.append((ran.rows, ran.bytes))
            sent.append(f"{sent_by_executors(folder / 'events'):,}")

    figures.say(
        f"`diff: warehouse` of {SPARK_ROWS:,} rows in Spark, a master and two workers: {told(SPARK_ROWS, came)}; "
        f"the executors sent {', '.join(sent)} bytes to the driver"
    )
