"""Compared with a general tool for reverse ETL: the same DuckDB rows to the same local server, first and unchanged.

drt posts the rows that are newer than the last ones it posted; it keeps nothing of a row, so what is measured is speed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from business import Business
from figures import Beside
from large import measure

pytestmark = [pytest.mark.benchmark_figures, pytest.mark.timeout(7200)]

ANSWERING = Path(__file__).parent / "answering.py"
DRT = "drt-core[duckdb]==1.2.1"
ROWS = int(os.environ.get("DBT_STRIPE_SYNC_BENCHMARK_PEER", "100000"))
SYNC = """
name: customers
model: select id, name, email, updated_at from main.customers
destination:
  type: rest_api
  url: "{url}/v1/customers"
  method: POST
  headers: {{Content-Type: application/x-www-form-urlencoded}}
  body_template: "name={{{{ row.name }}}}&email={{{{ row.email }}}}&metadata[id]={{{{ row.id }}}}"
  native_idempotency_key: "{{{{ sync_name }}}}-{{{{ row.id }}}}"
sync:
  mode: incremental
  cursor_field: updated_at
  batch_size: 1000
  rate_limit: {{requests_per_second: 100000}}
  on_error: fail
"""


@pytest.fixture(scope="module")
def drt(tmp_path_factory):
    """The peer, in an environment of its own."""
    folder = tmp_path_factory.mktemp("drt")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", DRT], check=True)
    return folder / "bin" / "drt"


@pytest.fixture
def answering():
    """The URL of a server that answers at once."""
    with subprocess.Popen([sys.executable, str(ANSWERING)], stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().strip()
        server.terminate()


def test_the_same_rows_by_a_general_tool(drt, answering, tmp_path, figures, monkeypatch):
    business = Business(root=tmp_path / "shop", stripe=cast("Any", SimpleNamespace(url=answering)))
    business.table(
        "customers",
        "SELECT i AS id, 'Name ' || i AS name, 'user' || i || '@example.com' AS email, "
        f"timestamp '2026-01-01' + i * interval '1 second' AS updated_at FROM range({ROWS}) AS t(i)",
    )
    business.sync("customers", resource="customer", key="id", fields={"name": "name", "email": "email"})
    business.set(account_per_second=100_000, endpoint_per_second=100_000)
    root = str(business.root)
    ours = (sys.executable, "-m", "dbt_stripe_sync", "run", "--project-dir", root, "--profiles-dir", root)
    theirs = tmp_path / "drt"
    (theirs / "syncs").mkdir(parents=True)
    (theirs / "drt_project.yml").write_text("name: shop\nprofile: local\n")
    (theirs / "syncs" / "customers.yml").write_text(SYNC.format(url=answering))
    (tmp_path / ".drt").mkdir()
    (tmp_path / ".drt" / "profiles.yml").write_text(f"local:\n  type: duckdb\n  database: {business.warehouse}\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    for what in ("first run", "unchanged"):
        with_drt = measure((str(drt), "run"), theirs)
        with_ours = measure((*ours, "--stripe-url", answering), business.root)

        figures.beside(
            Beside(
                what=f"{ROWS:,} rows, {what}",
                ours=f"dbt-stripe-sync {version('dbt-stripe-sync')}",
                theirs=DRT.replace("[duckdb]==", " "),
                own=with_ours,
                other=with_drt,
            )
        )
        assert "written" in with_ours.out
        assert "synced" in with_drt.out or "no rows" in with_drt.out
