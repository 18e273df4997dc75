"""`--select` and `--exclude` have the same meaning as in dbt; dbt is started only if it alone can answer."""

from __future__ import annotations

import pytest
from dbt_projects import sync_of, text_of, text_of_problem

from dbt_stripe_sync.dbt.selection import Selection, select_syncs
from dbt_stripe_sync.model.errors import ConfigError


@pytest.fixture
def shop(manifest):
    """raw -> people -> (orders -> (lines, totals)); `people` feeds two syncs, and `tools` is a package."""
    raw = manifest.model("raw", kind="seed", original_file_path="seeds/raw.csv", fqn=["shop", "raw"])
    people = manifest.model(
        "people", raw, original_file_path="models/core/people.sql", fqn=["shop", "core", "people"], tags=["nightly"]
    )
    orders = manifest.model(
        "orders",
        people,
        original_file_path="models/sales/orders.sql",
        fqn=["shop", "sales", "orders"],
        tags=["nightly", "money"],
        patch_path="shop://models/sales/sales.yml",
    )
    for name in ("order_lines", "order_totals"):
        path, fqn = f"models/sales/deep/{name}.sql", ["shop", "sales", "deep", name]
        manifest.model(name, orders, original_file_path=path, fqn=fqn, patch_path="shop://models/sales/sales.yml")
    manifest.model("plans", package="tools", original_file_path="models/plans.sql", fqn=["tools", "plans"])
    read = manifest.read()
    # dbt finds paths in the project's folder, where those of packages are not.
    for node in read.nodes.values():
        for file in [node.path, node.file] if node.package == "shop" else []:
            (manifest.root / file).parent.mkdir(parents=True, exist_ok=True)
            (manifest.root / file).touch()
    return read


@pytest.fixture
def choose(manifest, shop, syncs):
    def choose(*select, exclude=(), dbt=None, **asked):
        selection = Selection(select=select, exclude=exclude, **asked)
        return select_syncs(syncs, shop, manifest.root, selection, dbt or Dbt())

    return choose


@pytest.fixture
def syncs(shop):
    made = [sync_of(name, shop.nodes[f"model.shop.{name}"]) for name in ("orders", "order_lines", "order_totals")]
    people = shop.nodes["model.shop.people"]
    return [
        *(sync_of("customers", people), sync_of("leads", people)),
        *made,
        sync_of("plans", shop.nodes["model.tools.plans"]),
    ]


class Dbt:
    """Stands where `dbt ls` would be started; what it is asked shows which selectors are left to dbt."""

    def __init__(self, *unique_ids):
        self.unique_ids = frozenset(unique_ids)
        self.asked = []

    def selector(self, selector):
        self.asked.append(selector)
        return self.unique_ids

    named = selector


ALL = {"customers", "leads", "orders", "order_lines", "order_totals", "plans"}
SALES = {"orders", "order_lines", "order_totals"}


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ((), ALL),
        (("customers",), {"customers"}),
        (("sync:customers",), {"customers"}),
        (("people",), {"customers", "leads"}),
        (("people orders",), {"customers", "leads", "orders"}),
        (("people", "orders"), {"customers", "leads", "orders"}),
        (("order_*",), {"order_lines", "order_totals"}),
        (("order?",), {"orders"}),
        (("tag:nightly",), {"customers", "leads", "orders"}),
        (("tag:nightly,tag:money",), {"orders"}),
        (("tag:m*",), {"orders"}),
        (("tag:money plans",), {"orders", "plans"}),
        (("path:models/sales",), SALES),
        (("path:models/sales/",), SALES),
        (("./models/sales",), SALES),
        (("models/sales",), SALES),
        (("models/sales/*",), SALES),
        (("models/sales/*.sql",), {"orders"}),
        (("models/**/order_*.sql",), {"order_lines", "order_totals"}),
        (("path:models/sales/sales.yml",), SALES),
        (("path:models/sal",), set()),
        (("models/core/people.sql",), {"customers", "leads"}),
        (("people.sql",), {"customers", "leads"}),
        (("file:people",), {"customers", "leads"}),
        (("package:tools",), {"plans"}),
        (("package:this",), ALL - {"plans"}),
        (("fqn:shop.sales",), SALES),
        (("sales",), SALES),
        (("sales.deep",), {"order_lines", "order_totals"}),
        (("shop.sales.orders",), {"orders"}),
        (("sales.*",), SALES),
        (("shop.*.deep.*",), {"order_lines", "order_totals"}),
        (("fqn:deep",), set()),
        (("resource_type:model",), ALL),
        (("+orders",), {"customers", "leads", "orders"}),
        (("people+",), {"customers", "leads"} | SALES),
        (("people+1",), {"customers", "leads", "orders"}),
        (("1+order_lines",), {"orders", "order_lines"}),
        (("2+order_lines",), {"customers", "leads", "orders", "order_lines"}),
        (("+orders+",), {"customers", "leads"} | SALES),
        (("1+orders+1",), {"customers", "leads"} | SALES),
        (("raw+",), ALL - {"plans"}),
        (("customers+",), {"customers"} | SALES),
        (("+tag:money",), {"customers", "leads", "orders"}),
        (("people+,tag:money",), {"orders"}),
        (("customers,tag:nightly",), {"customers"}),
    ],
)
def test_simple_selectors_need_no_call_of_dbt(choose, select, expected):
    dbt = Dbt()

    selected = choose(*select, dbt=dbt)

    assert {sync.name for sync in selected.syncs} == expected
    assert dbt.asked == []
    assert bool(selected.warnings) == (not expected)


@pytest.mark.parametrize(
    ("select", "exclude", "expected"),
    [
        ((), ("people",), ALL - {"customers", "leads"}),
        ((), ("leads",), ALL - {"leads"}),
        (("tag:nightly",), ("tag:money",), {"customers", "leads"}),
        (("people+",), ("models/sales/deep",), {"customers", "leads", "orders"}),
    ],
)
def test_excluded_models_are_left_out(choose, select, exclude, expected):
    selected = choose(*select, exclude=exclude)

    assert {sync.name for sync in selected.syncs} == expected


@pytest.mark.parametrize("selector", ["state:modified", "1+state:modified+", "result:error", "nosuch:x", "@people+"])
def test_all_other_selectors_are_left_to_dbt(choose, selector):
    dbt = Dbt("model.shop.orders", "test.shop.unique_orders.1", "model.shop.unheard_of")

    selected = choose(f"{selector},tag:money", "plans", dbt=dbt)

    assert dbt.asked == [selector]
    assert [sync.name for sync in selected.syncs] == ["orders", "plans"]


def test_a_selector_of_selectors_yml_is_left_to_dbt(choose):
    dbt = Dbt("model.shop.orders")

    assert [sync.name for sync in choose(selector="money", dbt=dbt).syncs] == ["orders"]
    assert dbt.asked == ["money"]


def test_a_selector_of_selectors_yml_cannot_be_combined(choose):
    with pytest.raises(ConfigError) as error:
        choose("people", selector="money")

    assert text_of(error.value) == (
        "error[two-selections]: `--selector money` can't be combined with `--select` or `--exclude`\n  at \n\n"
        "hint: drop one of them (dbt 1.x would use `--selector` alone), or move the whole selection into selectors.yml"
    )


def test_syncs_keep_their_order(choose):
    assert [sync.name for sync in choose("plans", "customers", "orders").syncs] == ["customers", "orders", "plans"]


def test_an_exclusion_that_matches_nothing_stops_the_run(choose):
    with pytest.raises(ConfigError) as error:
        choose(exclude=["custmers", "tag:nosuch"])

    assert text_of(error.value) == (
        "error[nothing-excluded]: `--exclude custmers` matches nothing in this project\n  at \n\n"
        "hint: did you mean `customers`? (`--allow-empty-selection` runs without the exclusion)\n\n"
        "error[nothing-excluded]: `--exclude tag:nosuch` matches nothing in this project\n  at \n\n"
        "hint: `dbt-stripe-sync ls` lists the syncs (`--allow-empty-selection` runs without the exclusion)"
    )


def test_an_exclusion_that_matches_nothing_can_be_allowed(choose):
    selected = choose(exclude=["custmers"], allow_empty=True)

    assert {sync.name for sync in selected.syncs} == ALL
    assert [warning.code for warning in selected.warnings] == ["nothing-selected"]


def test_an_exclusion_that_finds_models_without_a_sync_is_only_reported(choose):
    selected = choose(exclude=["raw"])

    assert {sync.name for sync in selected.syncs} == ALL
    assert [warning.code for warning in selected.warnings] == ["nothing-selected"]


@pytest.mark.parametrize("tags", [["quick"], "quick"])
def test_a_unit_test_is_found_by_the_tags_of_its_config(manifest, tags):
    people = manifest.model("people")
    manifest.model("orders")
    manifest.unit_tests["unit_test.shop.people.one"] = {
        "name": "one",
        "resource_type": "unit_test",
        "package_name": "shop",
        "depends_on": {"nodes": [people]},
        "config": {"tags": tags},
    }
    read = manifest.read()
    syncs = [sync_of(node.name, node) for node in read.nodes.values()]

    def names(**asked):
        return [sync.name for sync in select_syncs(syncs, read, manifest.root, Selection(**asked), Dbt()).syncs]

    assert names(select=["1+tag:quick"]) == ["people"]
    assert names(exclude=["+tag:quick"]) == ["orders"]


def test_a_versioned_model_is_found_by_its_version(manifest):
    for version in (1, 2):
        manifest.model("people", fqn=["shop", "core", "people", f"v{version}"], version=version, latest_version=2)
        manifest.nodes[f"model.shop.people.v{version}"] = manifest.nodes.pop("model.shop.people")
    read = manifest.read()
    syncs = [sync_of(f"sync_{node.fqn[-1]}", node) for node in read.nodes.values()]

    def names(selector):
        return [s.name for s in select_syncs(syncs, read, manifest.root, Selection(select=[selector]), Dbt()).syncs]

    assert names("people") == ["sync_v1", "sync_v2"]
    assert names("people.v2") == names("people_v2") == names("core.people.v2") == ["sync_v2"]


@pytest.mark.parametrize(
    ("select", "hint"),
    [
        ("custmers", "did you mean `customers`?"),
        ("+ordrs", "did you mean `orders`?"),
        ("tag:hourly", "`dbt-stripe-sync ls` lists the syncs"),
    ],
)
def test_a_selector_that_matches_nothing_is_reported(choose, select, hint):
    selected = choose(select)

    assert selected.syncs == ()
    (warning,) = selected.warnings
    assert text_of_problem(warning) == (
        f"warning[nothing-selected]: the selector `{select}` matches no sync\n  at \n\nhint: {hint}"
    )
