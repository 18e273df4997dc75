"""Following the hint of a mistake in YAML leads to a project without mistakes."""

from __future__ import annotations

import json
import re

import pytest
from test_problems import CASES, code_of

VALID = "resource: customer\nkey: id\nfields: {email: email}\n"
# What a reader of the hint writes, by code: the text that is there, and its replacement.
EDITS: dict[str, list[tuple[str, str]]] = {
    "bad-constant": [("sometimes", "exempt"), ("value: lots", "value: 5")],
    "bad-interval": [("weekly", "7d")],
    "bad-limit": [("ten|150%", "10%"), ("max_reads: 10%", "max_reads: 500")],
    "bad-name": [("our customers/all", "our_customers")],
    "bad-option": [("replace: later", "replace: true"), ('"no"', "false")],
    "column-case": [("metadata.number: ID", "metadata.number: id")],
    "duplicate-sync": [("name: customers", "name: people")],
    "ambiguous-column-sync": [('"stripe_field": "email"', '"stripe_sync": {"one": "email"}')],
    "field-without-sync": [("null", "resource: customer\nkey: id\n")],
    "immutable-parameter": [(", unit_amount: cents", "")],
    "incomplete-lookup": [("by: email}", "by: email, column: billing_email}")],
    "mapped-twice": [("address: address_json, ", ""), (r"\{email: email\}", "{name: name}")],
    "match-not-possible": [(r"match: \[\w+\]\n", ""), ("by: phone", "by: email")],
    "metadata-name-too-long": [("a_name_that_is_much_longer_than_forty_characters", "a_shorter_name")],
    "metadata-too-many-keys": [(", metadata.k49: c", "")],
    "misspelled-block": [("null", VALID)],
    "missing-one-of": [
        ("{name: title}", "{name: title, percent_off: percent}"),
        ("{customer: customer}", "{customer: customer, items: [{price: price}]}"),
    ],
    "missing-parameter": [
        (r"\{unit_amount", "{currency: currency, unit_amount"),
        ("recurring.interval_count", "recurring.interval: every, recurring.interval_count"),
        ("{name: label}", "{name: label, value: text}"),
    ],
    "mode-not-allowed": [("mode: upsert", "mode: insert")],
    "no-child-rows": [(r"\{model: items.*\}\}\}", "email}")],
    "no-column": [("''", "email")],
    "no-conversion": [
        (r"name: \{column: credit.*?\}", "name: credit"),
        ("credit, currency", "credit, as: minor_units, currency"),
    ],
    "no-currency": [("minor_units}", "minor_units, currency: usd}")],
    "no-fields": [(r"\Z", "fields: {email: email}\n")],
    "no-key": [
        (r"customer\nfields", "customer\nkey: id\nfields"),
        (r"key: \{column: id\}", "key: id"),
        (r"\{source: \{sync: customers, key: \{value: archive\}\}\}", "{email: email}"),
        (r"\{source: \{sync: customers\}\}", "{email: email}"),
        ("'on': id", "'on': [tenant, id]"),
    ],
    "no-name": [(r"- \{resource", "- {name: two, resource")],
    "no-resource": [(r"\A", "resource: customer\n")],
    "not-a-list": [(r"\[email, other_email\]", "email")],
    "not-a-mapping": [
        (r"\Acustomer\n", VALID),
        (r"\[email\]", "{email: email}"),
        ("sequence: 1", "sequence: {value: 1}"),
        ("limits: 5", "limits: {max_changes: 5}"),
        (r"options: \[finalize\]", "options: {}"),
    ],
    "not-a-snapshot": [("history: true, ", "")],
    "not-clearable": [(", nulls: clear", "")],
    "not-readable": [("refresh_every: 7d", "")],
    "nothing-to-keep": [(", when_replaced: keep", "")],
    "null-constant": [("value: null", "value: a@example.com")],
    "reference-cycle": [(r", default_price: \{.*?\}", "")],
    "reference-key": [("key: user_id", "key: [tenant, user_id]")],
    "refused-resource": [(r"(?s)\A.*\Z", "null")],
    "removal-not-allowed": [("on_removed: delete", "on_removed: archive")],
    "rendered-away": [("name: ' '", "name: '[[ first_name ]]'"), ("'Dear '", "'Dear [[ name ]]'")],
    "reserved-metadata": [("metadata.dbt_stripe_sync", "metadata.other")],
    "restart-not-allowed": [("when_ended: restart", "")],
    "secret-in-meta": [(r"sk_live_\w+", "hello")],
    "template-syntax": [(r"\[\[ first_name", "[[ first_name ]]")],
    "template-without-column": [(r"\{template: ' '\}", "'[[ first_name ]]'")],
    "unknown-conversion": [("minor_unit,", "minor_units,")],
    "unknown-currency": [("dollars", "usd")],
    "unknown-key": [("field: {email: email}\n", ""), ("max_remove:", "max_removed:"), ("curency: usd, ", "")],
    "unknown-diff": [("warehose", "warehouse")],
    "unknown-mapping": [("colum:", "column:")],
    "unknown-match-email": [("ignorecase", "ignore_case")],
    "unknown-mode": [("upsrt", "upsert")],
    "unknown-model": [("sub_item,", "sub_items,")],
    "unknown-nulls": [("clears", "clear")],
    "unknown-on-ambiguous": [("latest", "newest")],
    "unknown-on-deleted": [("on_deleted: ignore", "on_deleted: forget")],
    "unknown-on-drift": [("overwite", "overwrite")],
    "unknown-on-removed": [("on_removed: remove", "on_removed: delete")],
    "unknown-option": [(r"options: \{replace: true\}", ""), ("replaced: true", "replace: true")],
    "unknown-parameter": [("emial", "email"), ("citty", "city"), ("email.domain", "email")],
    "unknown-resource": [
        ("custmer", "customer"),
        ("produkt", "product"),
        ("resource: meter_event", "resource: billing.meter_event"),
        (r"\{event_name: name\}", "{event_name: name, payload.stripe_customer_id: customer}"),
    ],
    "unknown-sync": [("custmers", "customers"), ('"customer": "phone"', '"customers": "phone"')],
    "unknown-when-ended": [("restarted", "restart")],
    "unknown-when-replaced": [("kept", "keep")],
    "unmatched-field": [(r"match: \[phone\]", "match: [email]"), ("match: email", "match: metadata.id")],
}


def edited(text, code):
    for there, instead in EDITS[code]:
        text = re.sub(there, instead, text)
    return text


@pytest.mark.parametrize("case", CASES, ids=[f"{index}-{code_of(case)}" for index, case in enumerate(CASES)])
def test_following_the_hint_fixes_the_problem(project, case):
    code = code_of(case)
    for name, written in case["models"].items():
        columns = written.get("columns")
        columns = json.loads(edited(json.dumps(columns), code)) if columns else None
        project.add(name, edited(written.get("stripe_sync", "null"), code), columns=columns)

    assert project.problems() == []
