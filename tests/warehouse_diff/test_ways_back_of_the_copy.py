"""If the copy of the hashes can't be written or read, the run continues, and following the hint resolves it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from copied import marks, people, write
from doc_blocks import all_blocks
from logged import DuckDBBusiness, PostgresBusiness, drop

from dbt_stripe_sync.sandbox import Sandbox


@pytest.fixture
def on_postgres(tmp_path, stripe, postgres):
    """Eight customers, read by a role that may write nothing."""
    made = PostgresBusiness(root=tmp_path / "shop", stripe=stripe, server=postgres)
    made.set(account_per_second=100_000, endpoint_per_second=100_000, diff="warehouse")
    write(made, people(8))
    made.sync("customers", resource="customer", key="id", fields={"email": "email"})
    made.do(
        "DROP ROLE IF EXISTS dbt",
        "CREATE ROLE dbt",
        "GRANT USAGE ON SCHEMA public TO dbt",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO dbt",
        "REVOKE TEMPORARY ON DATABASE shop FROM PUBLIC",
    )
    made.write_profile({**made.profile, "role": "dbt"})
    yield made
    drop(made)
    made._execute("postgres", "DROP ROLE IF EXISTS dbt")


@pytest.mark.parametrize("which", [0, 1])
def test_the_grants_on_the_page_are_enough(on_postgres, read, which):
    refused = on_postgres.cli()
    assert refused.exit_code == 0
    assert "warning[diff-not-written]" in refused.text
    assert "does not let `dbt` write the hashes" in refused.text
    assert "docs/warehouse-diff.md" in refused.text

    sql = [block.text for block in all_blocks("warehouse-diff.md") if "grant" in block.text][which]
    on_postgres.do(*(statement for statement in sql.split(";") if statement.strip()))

    assert "diff-not-written" not in on_postgres.cli().text
    read.take()
    on_postgres.cli()
    assert read.take() == {"customers": 1}


def test_locked_tables_do_not_block_the_run(on_postgres, monkeypatch):
    monkeypatch.setattr("dbt_stripe_sync.warehouse.log_postgres.LOCK_SECONDS", 1)
    on_postgres.write_profile(on_postgres.profile)
    on_postgres.cli()
    write(on_postgres, people(8, n1="x@example.com"))
    connection = on_postgres._connect("shop")
    with connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE stripe_sync.row_hash_marks IN SHARE MODE")

        held = on_postgres.cli()

        assert held.exit_code == 0
        assert "gave up on writing the hashes" in held.text
    assert "diff-not-written" not in on_postgres.cli().text
    assert "every row is read" not in on_postgres.cli("plan").text


def test_unsupported_warehouses_are_rejected_before_anything_is_sent(on_postgres):
    on_postgres.write_profile({"type": "duckdb", "path": ":memory:", "schema": "main"})
    refused = on_postgres.cli()
    assert refused.exit_code == 2
    assert "error[diff-not-supported]" in refused.text
    assert "vars.stripe_sync.diff" in refused.text

    on_postgres.write_profile(on_postgres.profile)
    on_postgres.set(diff="local")

    assert on_postgres.cli().exit_code == 0
    assert marks(on_postgres) == []


def test_without_a_diff_in_the_warehouse_none_of_its_code_is_imported(tmp_path, stripe):
    shop = DuckDBBusiness(root=tmp_path / "shop", stripe=stripe)
    write(shop, people(8))
    shop.sync("customers", resource="customer", key="id", fields={"email": "email"})
    shop.models["customers"]["materialized"] = "view"
    shop.write_manifest()
    program = textwrap.dedent(
        f"""
        import sys
        from dbt_stripe_sync.cli import main
        root = {str(shop.root)!r}
        try:
            main(["run", "--project-dir", root, "--profiles-dir", root, "--stripe-url", {shop.stripe.url!r}])
        except SystemExit as ended:
            assert not ended.code
        print([name for name in sys.modules if name.startswith("sqlglot") or "row_diffs" in name])
        """
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"STRIPE_API_KEY": Sandbox.api_key, "PATH": "/usr/bin:/bin"},
    )

    assert ran.stdout.strip().endswith("[]"), ran.stdout + ran.stderr
