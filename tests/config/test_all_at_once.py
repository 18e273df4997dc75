"""Every mistake of a project is reported in one pass: none hides another, in the same sync or in the next."""

from __future__ import annotations

from collections import Counter

import pytest
from yaml_project import Project

from dbt_stripe_sync.config.columns import check_columns

COLUMNS = {"model.shop.people": ["id", "email"], "model.shop.lines": ["order_id"], "model.shop.orders": ["id"]}
MISTAKES = """
resource: {resource}
keyy: id
key: idd
mode: upsrt
match: [metadata.nr]
on_drift: overwrte
refresh_every: weekly
limits: {{max_removd: 10%, max_changes: lots}}
options: [x]
nulls: clr
after: nobody
history: true
store_values: maybe
fields:
  emial: e_mail
  name: "[[ first "
  address: {{line1: street, country: {{column: land, as: jason}}}}
  balance: {{column: credit, as: minor_units}}
  phone: {{colum: mobile}}
  description: ""
  invoice_prefix: 7
  source: {{lookup: nothing, by: email}}
  test_clock: {{synk: nowhere, key: clock, when_replaced: kep}}
"""
ANYWHERE = {
    "unknown-key": 2,
    "unknown-mode": 1,
    "unknown-on-drift": 1,
    "bad-interval": 1,
    "bad-limit": 1,
    "not-a-mapping": 2,
    "unknown-nulls": 1,
    "not-a-snapshot": 1,
    "bad-option": 1,
    "template-syntax": 1,
    "unknown-conversion": 1,
    "no-currency": 1,
    "unknown-mapping": 2,
    "no-column": 1,
    "incomplete-lookup": 1,
    "unknown-when-replaced": 1,
    "unknown-sync": 2,
}


def codes(project):
    return Counter(problem.code for problem in project.parse().problems)


@pytest.mark.parametrize(
    ("resource", "more"),
    [
        ("customer", {"unknown-parameter": 1, "unknown-resource": 1, "unmatched-field": 1}),
        # What is all but certain is taken for it, and the rest is checked as such.
        ("custommer", {"unknown-parameter": 1, "unknown-resource": 2, "unmatched-field": 1}),
        # Nothing is known of the parameters, and all else is said.
        ("zzzzzz", {"unknown-resource": 2}),
    ],
)
def test_no_mistake_of_a_sync_hides_another(project, resource, more):
    project.add("people", MISTAKES.format(resource=resource))

    assert codes(project) == ANYWHERE | more


def test_columns_of_invalid_syncs_are_checked_too(project):
    project.add("people", MISTAKES.format(resource="zzzzzz"))
    parsed = project.parse()

    missing = [problem.summary for sync in parsed.broken for problem in check_columns(sync, COLUMNS)]

    assert parsed.syncs == ()
    for column in ("idd", "e_mail", "street", "land", "credit", "mobile", "clock"):
        assert any(f"reads column `{column}`" in summary for summary in missing), column


def test_mistakes_in_child_rows_are_reported_even_if_their_model_is_misspelled(project):
    project.add("people", "resource: customer\nkey: id\nfields: {email: email}\n")
    project.add_plain("lines")
    project.add(
        "orders",
        "resource: subscription\nkey: id\nfields:\n"
        "  customer: {sync: peopel, key: [id, x]}\n"
        '  items: {model: linez, "on": [a, b], fields: {price: {synk: prices, key: price}, quantety: seats}}\n',
    )

    assert codes(project) == {
        "unknown-sync": 2,
        "unknown-model": 1,
        "no-key": 1,
        "unknown-mapping": 1,
        "unknown-parameter": 1,
    }
    (orders,) = project.parse().broken
    missing = {problem.summary for problem in check_columns(orders, COLUMNS)}
    assert "sync `orders` reads column `seats`, which `lines` lacks" in missing


def test_a_sync_with_mistakes_is_not_an_unknown_sync_to_others(project):
    project.add("people", "resource: customer\nkey: id\nmode: upsrt\nfields: {email: email}\n")
    fields = "{customer: {sync: people, key: [id, other]}, items: [{price: price}]}"
    project.add("orders", f"resource: subscription\nkey: id\nfields: {fields}\n")

    assert codes(project) == {"unknown-mode": 1, "reference-key": 1}


def test_a_cycle_with_a_broken_sync_is_not_reported_before_it_is_fixed(project):
    project.add("goods", "resource: product\nkey: id\nfields: {name: id, default_price: {sync: costs, key: id}}\n")
    project.add(
        "costs",
        "resource: price\nkey: id\nmode: upsrt\n"
        "fields: {currency: c, unit_amount: a, product: {sync: goods, key: id}}\n",
    )

    assert codes(project) == {"unknown-mode": 1}


def test_an_unknown_parameter_is_reported_once():
    project = Project()
    project.add("people", "resource: customer\nkey: id\nfields: {emial: email, adress.city: city, tags: [a, {b: c}]}\n")

    assert codes(project) == {"unknown-parameter": 3}


def test_unnamed_syncs_are_not_also_reported_as_duplicates(project):
    sync = "{resource: customer, key: id, fields: {email: email}}"
    project.add("people", f"- {sync}\n- {sync}\n")

    assert codes(project) == {"no-name": 2}
