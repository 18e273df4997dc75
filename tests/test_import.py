"""`import` writes an account's products, prices and coupons as seeds whose syncs adopt them and change nothing."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pytest
import wide_account
from business import as_a_user, run_cli
from ruamel.yaml import YAML
from wide_account import client

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.sandbox import Sandbox

PROJECT = {"name": "shop", "version": "1.0", "profile": "shop"}


@dataclass
class Shop:
    """An empty dbt project, and an account that has been worked with by hand."""

    root: Path
    dbt: Path
    stripe: Sandbox

    def cli(self, *arguments: str):
        options = ["--project-dir", str(self.root), "--profiles-dir", str(self.root), "--stripe-url", self.stripe.url]
        return run_cli(*arguments, *options)

    def build(self) -> None:
        command = [str(self.dbt), "build", "--project-dir", str(self.root), "--profiles-dir", str(self.root)]
        done = subprocess.run(
            command, cwd=self.root, env=as_a_user({}), capture_output=True, text=True, check=False, timeout=800
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def plan(self, *arguments: str) -> dict:
        ran = self.cli("plan", "--output", "json", "--show-values", *arguments)
        assert ran.out, ran.err
        return json.loads(ran.out)

    def last_run(self) -> str:
        return str(json.loads(self.cli("runs", "--output", "json", "--limit", "1").out.splitlines()[0])["run"])

    def change_seed(self, name: str, before: str, after: str) -> None:
        file = self.root / "seeds" / f"{name}.csv"
        text = file.read_bytes()
        assert text.count(before.encode()) == 1
        file.write_bytes(text.replace(before.encode(), after.encode()))

    def seed(self, name: str) -> list[dict[str, str]]:
        with (self.root / "seeds" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def _project(root: Path, profile: dict) -> Path:
    root.mkdir()
    (root / "dbt_project.yml").write_text(
        json.dumps({**PROJECT, "vars": {"stripe_sync": {"account_per_second": 10_000, "endpoint_per_second": 10_000}}})
    )
    (root / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": {"dev": profile}}}))
    return root


@pytest.fixture
def shop(tmp_path, dbt_1, stripe):
    profile = {"type": "duckdb", "path": str(tmp_path / "warehouse.duckdb")}
    return Shop(root=_project(tmp_path / "shop", profile), dbt=dbt_1, stripe=stripe)


@pytest.fixture
def shop_of_dbt_2(tmp_path, dbt_2, stripe):
    profile = {"type": "duckdb", "path": str(tmp_path / "warehouse.duckdb")}
    return Shop(root=_project(tmp_path / "shop", profile), dbt=dbt_2, stripe=stripe)


@pytest.fixture
def shop_on_postgres(tmp_path, dbt_1, stripe, postgres):
    profile = {
        "type": "postgres",
        "host": postgres["BRIGHTDESK_PG_HOST"],
        "port": int(postgres["BRIGHTDESK_PG_PORT"]),
        "user": postgres["BRIGHTDESK_PG_USER"],
        "password": postgres["BRIGHTDESK_PG_PASSWORD"],
        "dbname": "postgres",
        "schema": "imported",
        "threads": 1,
    }
    return Shop(root=_project(tmp_path / "shop", profile), dbt=dbt_1, stripe=stripe)


def objects(shop):
    return {kind: shop.stripe.objects(kind) for kind in ("product", "price", "coupon")}


def _without_tag(body):
    metadata = {name: text for name, text in body["metadata"].items() if name != "dbt_stripe_sync"}
    return {**body, "metadata": metadata, "updated": None}


def _adopts_all_and_changes_nothing(shop):
    before = objects(shop)
    assert sum(map(len, before.values())) >= 250
    written = shop.cli("import")
    assert written.exit_code == 0, written.text
    shop.build()
    plan = shop.plan()
    count = sum(map(len, before.values()))

    assert not plan["problems"], plan["problems"]
    assert {change["action"] for change in plan["changes"]} == {"adopt"}, [
        change for change in plan["changes"] if change["action"] != "adopt"
    ][:3]
    assert len(plan["changes"]) == count
    differing = [c for c in plan["changes"] if [f for f in c["fields"] if f["path"] != "metadata.dbt_stripe_sync"]]
    assert differing == []

    ran = shop.cli("run")
    assert ran.exit_code == 0, ran.text
    after = objects(shop)
    assert {k: [_without_tag(b) for b in v] for k, v in after.items()} == {
        k: [_without_tag(b) for b in v] for k, v in before.items()
    }
    shop.stripe.reset_requests()
    assert shop.plan()["changes"] == []
    again = shop.cli("import")
    assert again.exit_code == 0, again.text
    assert shop.cli("run").exit_code == 0
    assert shop.stripe.writes() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wide_account_is_adopted_and_nothing_changes(shop):
    wide_account.fill(shop.stripe)

    _adopts_all_and_changes_nothing(shop)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wide_account_is_adopted_on_postgres(shop_on_postgres):
    wide_account.fill(shop_on_postgres.stripe)

    _adopts_all_and_changes_nothing(shop_on_postgres)


@pytest.mark.dbt2
@pytest.mark.timeout(900)
def test_a_wide_account_is_adopted_with_dbt_2(shop_of_dbt_2):
    wide_account.fill(shop_of_dbt_2.stripe)

    _adopts_all_and_changes_nothing(shop_of_dbt_2)


CHANGES = {
    "stripe_products": ('"Plain 3"', '"Plain three"'),
    "stripe_prices": ("987654", "987655"),
    "stripe_coupons": ('"Half off"', '"Half price"'),
}


@pytest.mark.parametrize("engine", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.dbt2)])
@pytest.mark.timeout(900)
def test_changes_to_imported_seeds_and_the_adoption_can_be_undone(request, engine):
    """From an account made by hand, over seeds that a real dbt builds, there and back again."""
    shop = request.getfixturevalue("shop" if engine == 1 else "shop_of_dbt_2")
    wide_account.fill(shop.stripe, plain=5)
    v1 = client(shop.stripe)
    old = v1.prices.create({"product": "prod_1", "currency": "usd", "unit_amount": 987654, "lookup_key": "gold"})["id"]
    v1.coupons.create({"id": "HALF", "percent_off": 50, "duration": "once", "name": "Half off"})
    by_hand = objects(shop)
    assert shop.cli("import").exit_code == 0
    shop.build()
    assert shop.cli("run").exit_code == 0
    adopted, adopting = objects(shop), shop.last_run()
    for name, (before, after) in CHANGES.items():
        shop.change_seed(name, before, after)
    shop.build()
    changes = planned(shop)
    assert [action for action, *_ in changes] == ["archive", "replace", "update", "update"]
    assert shop.cli("run").exit_code == 0
    changing = shop.last_run()

    undone = shop.cli("undo", changing, "--yes")

    assert undone.exit_code == 0, undone.text
    (new,) = {body["id"] for body in objects(shop)["price"]} - {body["id"] for body in adopted["price"]}
    assert comparable(objects(shop), without=new) == comparable(adopted)
    left = {body["id"]: body for body in objects(shop)["price"]}[new]
    assert (left["active"], left["lookup_key"]) == (False, None)
    assert planned(shop) == changes

    undone = shop.cli("undo", adopting, "--yes")

    assert undone.exit_code == 0, undone.text
    assert comparable(objects(shop), without=new) == comparable(by_hand)
    assert old in {body["id"] for body in objects(shop)["price"] if body["active"]}


def planned(shop):
    return sorted((change["action"], change["sync"], change["key"]) for change in shop.plan()["changes"])


def comparable(account, without=None):
    """An account's objects, but for the times of their last change."""
    return {kind: [{**b, "updated": None} for b in bodies if b["id"] != without] for kind, bodies in account.items()}


@pytest.fixture
def account(shop):
    """A product with two prices, and an archived one with a price."""
    v1 = client(shop.stripe)
    v1.products.create({"id": "team", "name": "Team", "metadata": {"plan": "team"}})
    v1.products.create({"id": "old", "name": "Old", "active": False, "metadata": {"plan": "old"}})
    v1.prices.create({"product": "team", "currency": "usd", "unit_amount": 100, "lookup_key": "team"})
    inactive = v1.prices.create({"product": "team", "currency": "usd", "unit_amount": 50})["id"]
    v1.prices.update(inactive, {"active": False})
    v1.prices.create({"product": "old", "currency": "usd", "unit_amount": 10})
    return shop


def test_archived_objects_and_what_refers_to_them_are_left_out_with_the_reason(account):
    ran = account.cli("import")

    assert [row["id"] for row in account.seed("stripe_products")] == ["team"]
    assert [row["lookup_key"] for row in account.seed("stripe_prices")] == ["team"]
    assert "1 product (old): archived; `--include-archived` writes these, too" in ran.out
    assert re.search(r"1 price \(price_\w+\): archived", ran.out)
    assert re.search(r"1 price \(price_\w+\): the product is left out", ran.out)
    assert not (account.root / "seeds" / "stripe_coupons.csv").exists()


def test_archived_objects_are_imported_on_demand(account):
    ran = account.cli("import", "--include-archived", "--output", "json")

    document = json.loads(ran.out)
    assert {seed["name"]: seed["rows"] for seed in document["seeds"]} == {"stripe_products": 2, "stripe_prices": 3}
    assert document["left_out"] == []
    assert sorted(row["active"] for row in account.seed("stripe_prices")) == ["false", "true", "true"]


def test_metadata_has_a_column_for_each_key_and_prices_refer_to_their_product(account):
    account.cli("import")

    properties = YAML(typ="safe").load((account.root / "seeds/stripe_import.yml").read_text())
    seeds = {seed["name"]: seed for seed in properties["seeds"]}
    products, prices = (seeds[name]["config"]["meta"]["stripe_sync"]["fields"] for name in seeds)
    assert products["metadata.plan"] == "metadata_plan"
    assert prices["product"] == {"sync": "stripe_products", "key": "product"}
    assert prices["unit_amount"] == "unit_amount"


def test_importing_one_resource_keeps_ids_of_the_others(account):
    account.cli("import", "prices")

    (seed,) = YAML(typ="safe").load((account.root / "seeds/stripe_import.yml").read_text())["seeds"]
    assert seed["config"]["meta"]["stripe_sync"]["fields"]["product"] == "product"
    assert len(account.seed("stripe_prices")) == 2


def test_a_file_with_other_contents_is_overwritten_only_on_request(account):
    account.cli("import")
    file = account.root / "seeds" / "stripe_prices.csv"
    file.write_text("id\nmine\n")

    refused = account.cli("import")
    kept = file.read_text()
    forced = account.cli("import", "--force")

    assert (refused.exit_code, kept) == (2, "id\nmine\n")
    assert "file-exists" in refused.err
    assert "stripe_prices.csv" in refused.err
    assert "stripe_products.csv" not in refused.err
    assert forced.exit_code == 0
    assert "team" in file.read_text()


def test_a_dry_run_writes_nothing(account):
    ran = account.cli("import", "--dry-run")

    assert "would write" in ran.out
    assert not (account.root / "seeds").exists()


def test_the_name_of_another_model_is_rejected(account):
    node = {
        "unique_id": "model.shop.stripe_prices",
        "name": "stripe_prices",
        "resource_type": "model",
        "package_name": "shop",
        "original_file_path": "models/stripe_prices.sql",
        "fqn": ["shop", "stripe_prices"],
        "config": {},
    }
    metadata = {"dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json", "project_name": "shop"}
    (account.root / "target").mkdir()
    manifest = {"metadata": metadata, "nodes": {node["unique_id"]: node}}
    (account.root / "target" / "manifest.json").write_text(json.dumps(manifest))

    refused = account.cli("import")
    renamed = account.cli("import", "--prefix", "acme_")

    assert refused.exit_code == 2
    assert "name-taken" in refused.err
    assert "models/stripe_prices.sql" in refused.err
    assert renamed.exit_code == 0, renamed.err
    assert (account.root / "seeds" / "acme_prices.csv").exists()


def test_objects_that_a_sync_manages_are_left_out(account):
    client(account.stripe).products.update("team", {"metadata": {"dbt_stripe_sync": "other/plans/team"}})

    ran = account.cli("import")

    assert "1 product (team): sync `plans` of the project `other` manages it" in ran.out
    assert "1 price" in ran.out


def test_an_invalid_prefix_is_rejected(account):
    ran = account.cli("import", "--prefix", "../x")

    assert ran.exit_code == 2
    assert "--prefix" in ran.err


def test_an_empty_account_has_nothing_to_import(shop):
    ran = shop.cli("import")

    assert ran.exit_code == 0
    assert "has nothing to import" in ran.out
    assert not (shop.root / "seeds").exists()


def load_seeds(business) -> None:
    """What `dbt seed` does with the files: tables with the types that the YAML names."""
    properties = YAML(typ="safe").load((business.root / "seeds" / "stripe_import.yml").read_text())
    for seed in properties["seeds"]:
        name, types = seed["name"], seed["config"]["column_types"]
        columns = ", ".join(f'"{column}" {kind}' for column, kind in types.items())
        with duckdb.connect(str(business.warehouse)) as warehouse:
            warehouse.execute(f"CREATE OR REPLACE TABLE {name} ({columns})")
            file = business.root / "seeds" / f"{name}.csv"
            warehouse.execute(f"COPY {name} FROM '{file}' (FORMAT csv, HEADER true)")
        business.sync(name, **seed["config"]["meta"]["stripe_sync"])


def test_metadata_in_columns_is_adopted_unchanged(business):
    metadata = tuple({**of, "a_b": "x", "A-B": "y", "a b": "null"} for of in ({"plan": "007"}, {"code": " padded "}))
    wide_account.fill(business.stripe, metadata=metadata, plain=0)
    business.write_manifest()

    assert business.cli("import").exit_code == 0
    load_seeds(business)

    (products, *_) = YAML(typ="safe").load((business.root / "seeds/stripe_import.yml").read_text())["seeds"]
    fields = products["config"]["meta"]["stripe_sync"]["fields"]
    assert {name for name in fields if name.startswith("metadata")} == {
        f"metadata.{key}" for key in ("A-B", "a b", "a_b", "code", "plan")
    }
    changes = business.plan()
    assert {change["action"] for change in changes} == {"adopt"}
    assert [part for change in changes for part in change["fields"]] == []


@pytest.mark.slow
def test_an_import_after_a_replacement_keeps_the_key_of_the_row(business):
    v1 = client(business.stripe)
    v1.products.create({"id": "team", "name": "Team"})
    first = v1.prices.create({"product": "team", "currency": "usd", "unit_amount": 100, "lookup_key": "team"})["id"]
    business.write_manifest()
    business.cli("import")
    load_seeds(business)
    assert business.cli("run").exit_code == 0
    file = business.root / "seeds" / "stripe_prices.csv"
    file.write_text(file.read_text().replace(",100\n", ",200\n"))
    load_seeds(business)
    assert business.cli("run").exit_code == 0

    (business.root / "target" / "manifest.json").unlink()  # it calls the seeds models
    again = business.cli("import", "--force")
    load_seeds(business)

    assert again.exit_code == 0, again.text
    (row,) = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    assert (row["id"], row["unit_amount"]) == (first, "200")
    assert business.plan() == []
