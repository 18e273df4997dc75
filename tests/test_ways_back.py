"""No dead ends: following the hint of a problem leads to a run that succeeds and leaves nothing to do.

The hints of mistakes in YAML are tested in `config/test_ways_out.py`.
"""

from __future__ import annotations

import json
import re

import pytest
from business import by_hand

MAPPED = {"email": "email", "name": "name", "metadata.user_id": "id"}


def check_that_nothing_is_left(business, *options):
    """The next run succeeds, and the one after it has nothing to send."""
    ran = business.cli("run", *options)
    assert ran.exit_code == 0, ran.text
    business.write_calls()
    again = business.cli("run", *options)
    assert (again.exit_code, business.write_calls()) == (0, []), again.text


def sync(business, **more):
    business.sync("customers", **{"resource": "customer", "key": "id", "fields": MAPPED, **more})


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────

COLUMNS = ("id", "email", "credit", "exempt", "address", "note", "nick", "sequence")
GOOD: dict[str, str | None] = {
    "email": "a@example.com",
    "credit": "1.50",
    "exempt": "none",
    "address": '{"city": "Oslo"}',
    "note": "n",
    "nick": "4",
    "sequence": "7",
}
BAD: dict[str, dict[str, str | None]] = {
    "not-an-amount": {"credit": "lots"},
    "too-many-decimals": {"credit": "1.234"},
    "not-in-enum": {"exempt": "maybe"},
    "not-json": {"address": "{"},
    "not-a-hash": {"address": "5"},
    "metadata-value-too-long": {"note": "n" * 501},
    "not-an-integer": {"sequence": "many"},
    "template-failed": {"nick": "0"},
    "stripe-rule": {"email": "a" * 600 + "@example.com"},
    "duplicate-key": {"id": "twice"},
    "null-key": {"id": None},
}


def write_rows(business, bad):
    rows = [{"id": code, **GOOD, **(BAD[code] if code in bad else {})} for code in BAD]
    rows += [dict(rows[-2])] if "duplicate-key" in bad else []
    business.rows(
        "customers",
        *[tuple(row.get(name) for name in COLUMNS) for row in rows],
        columns=", ".join(f"{name} text" for name in COLUMNS),
    )


def test_every_bad_row_is_synced_once_its_value_is_fixed(business):
    write_rows(business, BAD)
    sync(
        business,
        fields={
            "email": "email",
            "balance": {"column": "credit", "as": "minor_units", "currency": "usd"},
            "tax_exempt": "exempt",
            "address": "address",
            "metadata.note": "note",
            "name": {"template": "[[ 12 // (nick | int) ]] seats"},
            "next_invoice_sequence": "sequence",
        },
    )
    ran = business.cli()
    assert ran.exit_code == 1, ran.text
    said = set(re.findall(r"(?:\[)([a-z]+(?:-[a-z]+)+)(?:\])", ran.text))
    assert set(BAD) - said == set(), ran.text
    assert business.stripe.count("customer") == 0

    write_rows(business, set())

    check_that_nothing_is_left(business)
    assert business.stripe.count("customer") == len(BAD)


# ── the sync, the state and the plan ─────────────────────────────────────────────────────────────────────────────


def empty(business):
    sync(business, on_removed="delete")
    business.cli()
    business.table("customers", "SELECT * FROM customers WHERE false")


def too_many(business):
    business.cli()
    business.table("customers", "SELECT id, 'new.' || email AS email, name FROM customers")
    sync(business, limits={"max_changes": 1})


def too_bad(business):
    business.table("customers", "SELECT id, repeat('x', 600) || email AS email, name FROM customers")
    sync(business, limits={"max_rejected": 1})


def mend(business):
    business.table("customers", "SELECT id, ltrim(email, 'x') AS email, name FROM customers")


def two_alike(business):
    for _ in range(2):
        by_hand(business, "customers", email="a@example.com")
    sync(business, match=["email"])


def one_for_two(business):
    by_hand(business, "customers", email="same@example.com")
    business.table("customers", "SELECT id, 'same@example.com' AS email, name FROM customers")
    sync(business, match=["email"])


def other_folder(business):
    outputs = {"../away": {"type": "duckdb", "path": str(business.warehouse)}}
    profile = {"shop": {"target": "../away", "outputs": outputs}}
    (business.root / "profiles.yml").write_text(json.dumps(profile))


def stale(business):
    file = str(business.root / "plan.jsonl")
    business.cli("plan", "--out", file)
    business.cli()
    return "apply", file


def not_empty(business):
    business.cli()
    business.cli("state", "export", str(business.root / "export"))
    return "state", "import", str(business.root / "export")


def taken_name(business):
    business.cli()
    business.rows("people", (1, "z@example.com"), columns="id int, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.cli()
    return "state", "mv", "customers", "people"


def rename(business):
    business.cli("state", "forget", "people", "--all")
    business.cli("state", "mv", "customers", "people")
    business.models["people"] = business.models.pop("customers")
    business.models["people"]["meta"]["stripe_sync"]["name"] = "people"
    business.table("people", "SELECT * FROM customers")


def respelled(business):
    sync(business)
    business.cli()
    business.table("customers", "SELECT id::DECIMAL(9, 2) AS id, email, name FROM customers")


WAYS = {
    "keys-respelled": (
        respelled,
        lambda business: business.table("customers", "SELECT id::INT AS id, email, name FROM customers"),
    ),
    "empty-model": (empty, lambda business: business.cli("state", "forget", "customers", "--all")),
    "max-changes": (too_many, lambda business: sync(business, limits={"max_changes": 500})),
    "max-rejected": (too_bad, mend),
    "ambiguous-match": (two_alike, lambda business: sync(business, match=["email"], on_ambiguous="newest")),
    "already-claimed": (one_for_two, lambda business: sync(business, match=["metadata.user_id"])),
    "sync-has-records": (taken_name, rename),
}


@pytest.mark.parametrize("code", WAYS)
def test_following_the_hint_leads_to_a_clean_run(customers, code):
    bring_about, way_out = WAYS[code]
    command = bring_about(customers) or ()
    ran = customers.cli(*command)
    assert (ran.exit_code != 0, f"[{code}]" in ran.text) == (True, True), ran.text

    way_out(customers)

    check_that_nothing_is_left(customers)


@pytest.mark.parametrize(
    ("code", "bring_about", "options"),
    [
        ("bad-target-name", other_folder, ("--state-path", "{root}/own.duckdb")),
        ("state-not-empty", not_empty, ("--state-path", "{root}/own.duckdb")),
    ],
)
def test_another_place_for_the_state_leads_to_a_clean_run(customers, code, bring_about, options):
    command = bring_about(customers) or ()
    options = [option.format(root=customers.root) for option in options]
    ran = customers.cli(*command)
    assert (ran.exit_code, f"error[{code}]" in ran.text) == (2, True), ran.text

    if command:
        assert customers.cli(*command, *options).exit_code == 0

    check_that_nothing_is_left(customers, *options)


def test_a_plan_that_is_created_again_leads_to_a_clean_run(customers):
    apply = stale(customers)
    assert "error[plan-stale]" in customers.cli(*apply).text
    customers.table("customers", "SELECT id, 'new.' || email AS email, name FROM customers")

    assert customers.cli("plan", "--out", apply[1]).exit_code == 0
    assert customers.cli(*apply).exit_code == 0

    check_that_nothing_is_left(customers)


def test_an_id_that_is_taken_is_adopted_as_the_hint_says(business):
    by_hand(business, "products", id="tea", name="Tee")
    business.rows("products", ("tea", "Tea"), columns="id text, name text")
    meta = {"resource": "product", "key": "id", "fields": {"id": "id", "name": "name"}}
    business.sync("products", **meta)
    ran = business.cli()
    assert (ran.exit_code, "match: [id]" in ran.text) == (1, True), ran.text

    business.sync("products", **meta, match=["id"])

    check_that_nothing_is_left(business)
    assert [product["name"] for product in business.stripe.objects("product")] == ["Tea"]
