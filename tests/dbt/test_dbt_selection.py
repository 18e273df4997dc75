"""`--select` and `--exclude` mean what they mean to dbt; only what dbt alone can answer starts it."""

from __future__ import annotations

import pytest
from dbt_projects import sync_of, text_of_problem

from dbt_stripe_sync.dbt.selection import select_syncs


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
    return manifest.read()


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

    def __call__(self, selector):
        self.asked.append(selector)
        return self.unique_ids


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
def test_selectors_that_cost_no_call_of_dbt(shop, syncs, select, expected):
    dbt = Dbt()

    selected = select_syncs(syncs, shop, select=select, exclude=(), ask_dbt=dbt)

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
def test_what_is_excluded_is_left_out(shop, syncs, select, exclude, expected):
    selected = select_syncs(syncs, shop, select=select, exclude=exclude, ask_dbt=Dbt())

    assert {sync.name for sync in selected.syncs} == expected


@pytest.mark.parametrize(
    "selector",
    ["@people", "state:modified", "state:modified+", "+source:raw", "config.materialized:table", "result:error"],
)
def test_all_other_selectors_are_left_to_dbt(shop, syncs, selector):
    dbt = Dbt("model.shop.orders", "test.shop.unique_orders.1", "model.shop.unheard_of")

    selected = select_syncs(syncs, shop, select=(f"{selector},tag:money", "plans"), exclude=(), ask_dbt=dbt)

    assert dbt.asked == [selector]
    assert [sync.name for sync in selected.syncs] == ["orders", "plans"]


def test_syncs_keep_their_order(shop, syncs):
    selected = select_syncs(syncs, shop, select=("plans", "customers", "orders"), exclude=(), ask_dbt=Dbt())

    assert [sync.name for sync in selected.syncs] == ["customers", "orders", "plans"]


def test_a_versioned_model_is_found_by_its_version(manifest):
    for version in (1, 2):
        manifest.model("people", fqn=["shop", "core", "people", f"v{version}"])
        manifest.nodes[f"model.shop.people.v{version}"] = manifest.nodes.pop("model.shop.people")
    read = manifest.read()
    syncs = [sync_of(f"sync_{node.fqn[-1]}", node) for node in read.nodes.values()]

    def names(selector):
        return [s.name for s in select_syncs(syncs, read, select=(selector,), exclude=(), ask_dbt=Dbt()).syncs]

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
def test_a_selector_that_matches_nothing_is_told(shop, syncs, select, hint):
    selected = select_syncs(syncs, shop, select=(select,), exclude=(), ask_dbt=Dbt())

    assert selected.syncs == ()
    (warning,) = selected.warnings
    assert text_of_problem(warning) == (
        f"warning[nothing-selected]: the selector `{select}` matches no sync\n  at \n\nhint: {hint}"
    )
