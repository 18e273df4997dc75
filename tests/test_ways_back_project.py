"""No dead ends in a dbt project, its profile and its warehouse: following the hint leads to a run that succeeds.

Each case causes a problem, does what its hint says, and runs again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import duckdb
import pytest
from business import run_cli


def profile(business, **output):
    """The project's profile, with an output of another shape."""
    plain = {"type": "duckdb", "path": str(business.warehouse)}
    outputs = {"shop": {"target": "dev", "outputs": {"dev": plain | output}}}
    (business.root / "profiles.yml").write_text(json.dumps(outputs))


def project(business, **more):
    raw = {"name": "shop", "version": "1.0", "profile": "shop", "vars": {"stripe_sync": business.settings}}
    (business.root / "dbt_project.yml").write_text(json.dumps(raw | more))


def manifest(business, **more):
    """dbt's manifest, with other metadata or other parts."""
    file = business.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    metadata = raw["metadata"] | more.pop("metadata", {})
    file.write_text(json.dumps(raw | more | {"metadata": metadata}))


def results(business, status="success", **metadata):
    """dbt's results, of one model."""
    file = business.root / "target" / "run_results.json"
    raw = json.loads(file.read_text())
    raw["metadata"] |= metadata
    raw["results"] = [{"unique_id": "model.shop.customers", "status": status}]
    file.write_text(json.dumps(raw))


def text(business, name, words):
    file = business.root / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(words)


def restore(business, _monkeypatch=None):
    """Put everything right by hand, and let dbt build again."""
    business.write_project()
    profile(business)
    business.write_manifest()


def without_warehouse(business):
    shutil.move(business.warehouse, business.root / "kept.duckdb")


def build_warehouse(business, _monkeypatch):
    shutil.move(business.root / "kept.duckdb", business.warehouse)


def drop(business):
    with duckdb.connect(str(business.warehouse)) as warehouse:
        warehouse.execute("ALTER TABLE customers RENAME TO others")


def build_table(business, _monkeypatch):
    with duckdb.connect(str(business.warehouse)) as warehouse:
        warehouse.execute("ALTER TABLE others RENAME TO customers")


def failing_view(business):
    with duckdb.connect(str(business.warehouse)) as warehouse:
        warehouse.execute("ALTER TABLE customers RENAME TO others")
        warehouse.execute("CREATE VIEW customers AS SELECT CAST(name AS int) AS id, email, name FROM others")


def mend_view(business, _monkeypatch):
    with duckdb.connect(str(business.warehouse)) as warehouse:
        warehouse.execute("CREATE OR REPLACE VIEW customers AS SELECT * FROM others")


def one_selector(business, _monkeypatch):
    """selectors.yml is read by dbt itself."""
    text(business, "selectors.yml", "selectors:\n  - {name: people, definition: customers}\n")
    text(business, "models/customers.sql", "select 1 as id")


def exported(name, value):
    return lambda business, monkeypatch: monkeypatch.setenv(name, value.format(root=business.root))


def not_tagged(business):
    business.models["customers"].pop("meta")
    business.write_manifest()


def other_target(business):
    plain = {"type": "duckdb", "path": str(business.warehouse)}
    outputs = {"dev": plain, "prod": plain | {"schema": "prod"}}
    (business.root / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": outputs}}))


def tag_again(business, _monkeypatch):
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})


def misspelt_column(business):
    business.sync("customers", resource="customer", key="id", fields={"email": "e_mail"})


def misplaced(business):
    file = business.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    raw["sources"] = {
        "source.shop.a.b": {
            "resource_type": "source",
            "name": "b",
            "package_name": "shop",
            "original_file_path": "models/s.yml",
            "config": {"meta": {"stripe_sync": {"resource": "customer", "key": "id", "fields": {"email": "email"}}}},
        }
    }
    file.write_text(json.dumps(raw))


def nothing(_business, _monkeypatch=None):
    """The way out is another command line."""


HERE = ()
# Code: what brings it about; the command that says it; its exit code; the way out; and the command that succeeds then.
CASES: dict[str, Any] = {
    "bad-setting": (
        lambda b: b.set(account_per_second="many"),
        HERE,
        2,
        lambda b, _: b.set(account_per_second=99),
        HERE,
    ),
    "unknown-setting": (
        lambda b: project(b, vars={"stripe_sync": {"acount": "acct_sandbox"}}),
        HERE,
        2,
        lambda b, _: project(b, vars={"stripe_sync": {"account": "acct_sandbox"}}),
        HERE,
    ),
    "unknown-column": (misspelt_column, HERE, 2, tag_again, HERE),
    "misplaced-sync": (misplaced, ("parse",), 0, restore, ("parse",)),
    "unread-sync": (
        lambda b: text(
            b, "models/a.yml", "models:\n  - name: customrs\n    config:\n      meta:\n        stripe_sync:\n"
        ),
        ("parse",),
        0,
        lambda b, _: (text(b, "models/a.yml", "models: []\n"), b.write_manifest()),
        ("parse",),
    ),
    "no-project": (nothing, ("run", "--project-dir", "{root}/target"), 2, nothing, HERE),
    "no-profiles": (nothing, ("run", "--profiles-dir", "{root}/target"), 2, nothing, HERE),
    "no-profile": (lambda b: project(b, profile="store"), HERE, 2, nothing, ("run", "--profile", "shop")),
    "no-target": (nothing, ("run", "--target", "prod"), 2, nothing, ("run", "--target", "dev")),
    "other-target": (other_target, ("run", "--target", "prod"), 2, nothing, ("run", "--target", "dev")),
    "no-manifest": (lambda b: (b.root / "target" / "manifest.json").unlink(), HERE, 2, restore, HERE),
    "broken-manifest": (lambda b: text(b, "target/manifest.json", "{"), HERE, 2, restore, HERE),
    "old-manifest": (
        lambda b: manifest(b, metadata={"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v7.json"}),
        HERE,
        2,
        restore,
        HERE,
    ),
    "no-env-var": (
        lambda b: profile(b, path="{{ env_var('SHOP_FILE') }}"),
        HERE,
        2,
        exported("SHOP_FILE", "{root}/warehouse.duckdb"),
        HERE,
    ),
    "no-var": (
        lambda b: profile(b, path="{{ var('file') }}"),
        HERE,
        2,
        nothing,
        ("run", "--vars", "{{file: {root}/warehouse.duckdb}}"),
    ),
    "bad-vars": (nothing, ("run", "--vars", "[5"), 2, nothing, ("run", "--vars", "{{a: 5}}")),
    "bad-jinja": (lambda b: profile(b, path="{{ 1 / }}"), HERE, 2, restore, HERE),
    "bad-yaml": (lambda b: text(b, "profiles.yml", "shop: [\n"), HERE, 2, restore, HERE),
    "bad-profile": (lambda b: text(b, "profiles.yml", "shop: {target: dev, outputs: []}"), HERE, 2, restore, HERE),
    "bad-project": (lambda b: project(b, vars=[5]), HERE, 2, restore, HERE),
    "duplicate-yaml-key": (
        lambda b: text(b, "dbt_project.yml", "name: shop\nversion: '1'\nprofile: shop\nprofile: shop\n"),
        HERE,
        0,
        restore,
        HERE,
    ),
    "no-syncs": (not_tagged, HERE, 0, tag_again, HERE),
    "nothing-selected": (nothing, ("run", "--select", "custmers"), 0, nothing, ("run", "--select", "customers")),
    "nothing-excluded": (
        nothing,
        ("run", "--exclude", "custmers"),
        2,
        nothing,
        ("run", "--exclude", "custmers", "--allow-empty-selection"),
    ),
    "two-selections": (
        nothing,
        ("run", "--selector", "people", "--select", "customers"),
        2,
        one_selector,
        ("run", "--selector", "people"),
    ),
    "bad-selector": (nothing, ("run", "--selector", "people"), 2, one_selector, ("run", "--selector", "people")),
    "model-held": (lambda b: results(b, "error"), HERE, 1, lambda b, _: results(b), HERE),
    "stale-manifest": (
        lambda b: text(b, "models/customers.sql", "select 1"),
        HERE,
        0,
        lambda b, _: manifest(b, metadata={"generated_at": "2100-01-01T00:00:00Z"}),
        HERE,
    ),
    "stale-run-results": (lambda b: results(b, "error", invocation_id="y"), HERE, 1, lambda b, _: results(b), HERE),
    "no-dbt-results": (
        lambda b: (b.root / "target" / "run_results.json").unlink(),
        HERE,
        0,
        restore,
        HERE,
    ),
    "relation-missing": (drop, HERE, 2, build_table, HERE),
    "read-failed": (failing_view, HERE, 2, mend_view, HERE),
    "warehouse-missing": (without_warehouse, HERE, 2, build_warehouse, HERE),
    "warehouse-setting": (lambda b: profile(b, config_options={"no_such_option": "x"}), HERE, 2, restore, HERE),
}


@pytest.mark.parametrize("code", CASES)
def test_following_the_hint_leads_to_a_successful_run(customers, monkeypatch, code):
    bring_about, command, exit_code, way_out, then = CASES[code]
    bring_about(customers)
    ran = run(customers, command)
    assert (ran.exit_code, f"[{code}]" in ran.text, "hint:" in ran.text) == (exit_code, True, True), ran.text

    way_out(customers, monkeypatch)

    ran = run(customers, then)
    assert (ran.exit_code, f"[{code}]" in ran.text) == (0, False), ran.text
    if then[:1] != ("parse",):
        assert customers.stripe.count("customer") == 3


def run(business, command):
    """A command on the project; what it says of folders counts, since it comes last."""
    root = str(business.root)
    given = [word.format(root=root) for word in command] or ["run"]
    url = business.stripe.url
    return run_cli(given[0], "--project-dir", root, "--profiles-dir", root, "--stripe-url", url, *given[1:])


def test_a_locked_file_is_read_once_the_other_program_has_ended(customers):
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(customers.warehouse)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    try:
        ran = customers.cli()
    finally:
        holder.communicate(b"\n")

    assert (ran.exit_code, "error[warehouse-locked]" in ran.text) == (2, True), ran.text
    assert customers.cli().exit_code == 0


def test_tests_that_dbt_has_not_run_are_reported_until_it_has(customers):
    unique = {
        "unique_id": "test.shop.unique_customers_id",
        "name": "unique_customers_id",
        "resource_type": "test",
        "package_name": "shop",
        "original_file_path": "models/schema.yml",
        "attached_node": "model.shop.customers",
        "column_name": "id",
        "config": {"severity": "ERROR"},
        "depends_on": {"nodes": ["model.shop.customers"]},
    }
    file = customers.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    raw["nodes"][unique["unique_id"]] = unique
    file.write_text(json.dumps(raw))
    ran = customers.cli()
    assert (ran.exit_code, "warning[no-test-results]" in ran.text) == (0, True), ran.text

    results_file = customers.root / "target" / "run_results.json"
    told = json.loads(results_file.read_text())
    told["results"].append({"unique_id": unique["unique_id"], "status": "pass"})
    results_file.write_text(json.dumps(told))

    assert "warning" not in customers.cli().text


def test_a_private_model_is_in_the_exposure_once_it_is_public(customers):
    def let(access):
        file = customers.root / "target" / "manifest.json"
        raw = json.loads(file.read_text())
        raw["nodes"]["model.shop.customers"]["access"] = access
        file.write_text(json.dumps(raw))

    (customers.root / "models").mkdir()
    let("private")
    assert "warning[private-model]" in customers.cli("docs").text

    let("public")

    ran = customers.cli("docs")
    assert (ran.exit_code, "private-model" in ran.text) == (0, False), ran.text


POSTGRES: dict[str, Any] = {
    "warehouse-unreachable": {"host": "127.0.0.1", "port": 1, "retries": 0},
    "warehouse-auth": {"user": "nobody_here"},
    "warehouse-denied": {"user": "ways_back_reader"},
}


@pytest.mark.parametrize("code", POSTGRES)
def test_a_corrected_profile_reads_postgres(business, postgres, code):
    plain = {
        "type": "postgres",
        "host": postgres["BRIGHTDESK_PG_HOST"],
        "port": int(postgres["BRIGHTDESK_PG_PORT"]),
        "user": postgres["BRIGHTDESK_PG_USER"],
        "password": postgres["BRIGHTDESK_PG_PASSWORD"],
        "dbname": "postgres",
        "schema": "public",
    }
    adbc = pytest.importorskip("adbc_driver_postgresql.dbapi")
    keys = ("host", "port", "user", "password", "dbname")
    with adbc.connect(" ".join(f"{key}='{plain[key]}'" for key in keys)) as server, server.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS ways_back")
        cursor.execute("CREATE TABLE ways_back AS SELECT 1 AS id, 'a@example.com'::text AS email")
        cursor.execute("DROP ROLE IF EXISTS ways_back_reader")
        cursor.execute("CREATE ROLE ways_back_reader LOGIN")
        server.commit()
    business.models["ways_back"] = {}
    business.sync("ways_back", resource="customer", key="id", fields={"email": "email"})
    file = business.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    node = raw["nodes"]["model.shop.ways_back"]
    node |= {"database": "postgres", "schema": "public", "relation_name": '"postgres"."public"."ways_back"'}
    raw["metadata"]["adapter_type"] = "postgres"
    file.write_text(json.dumps(raw))

    def use(**output):
        outputs = {"shop": {"target": "dev", "outputs": {"dev": plain | output}}}
        (business.root / "profiles.yml").write_text(json.dumps(outputs))

    use(**POSTGRES[code])
    ran = business.cli()
    assert (ran.exit_code, f"error[{code}]" in ran.text) == (2, True), ran.text

    use()

    ran = business.cli()
    assert ran.exit_code == 0, ran.text
