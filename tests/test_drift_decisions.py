"""The decisions on drifted objects: every setting and each kind of difference, from data alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dbt_stripe_sync.config.sync import parse_syncs
from dbt_stripe_sync.engine.decide.decide import decide
from dbt_stripe_sync.engine.decide.drift import drifted_object
from dbt_stripe_sync.engine.decide.rules import Keep, Observed, Refresh, Reject, Row, Rules
from dbt_stripe_sync.engine.payload.builder import Payload, PayloadBuilder
from dbt_stripe_sync.engine.payload.drift import find_drift, merge
from dbt_stripe_sync.engine.payload.layout import build_layout
from dbt_stripe_sync.model.change import Action, Change
from dbt_stripe_sync.model.difference import Kind, RowDiff
from dbt_stripe_sync.model.nodes import ModelNode
from dbt_stripe_sync.stripe_api.catalog import read_catalog

CATALOG = read_catalog()
WRITTEN = {
    "name": "Ann",
    "email": "a@example.com",
    "metadata": {"plan": "team"},
    "address": {"city": "Bern", "line1": "1"},
}
FIELDS = {
    "customer": {"name": "n", "email": "e", "metadata.plan": "p", "address.city": "c", "address.line1": "l"},
    "subscription": {"customer": "c", "items": "i", "description": "d"},
    "coupon": {"name": "n", "percent_off": "p", "duration": "d"},
    "price": {"currency": "c", "unit_amount": "u", "product": "p", "nickname": "n"},
}


def rules(resource="customer", **meta):
    block = {"resource": resource, "key": "id", "fields": FIELDS[resource], **meta}
    node = ModelNode(
        unique_id="model.shop.m",
        name="m",
        package="shop",
        resource_type="model",
        materialized="table",
        file="m.yml",
        path="m.sql",
        fqn=("shop", "m"),
        depends_on=(),
        relation=None,
        sql=None,
        meta={"stripe_sync": block},
        raw_meta=None,
        columns={},
    )
    parsed = parse_syncs({"m": node}, CATALOG, project="shop")
    assert parsed.problems == ()
    sync = parsed.syncs[0]
    layout, found = build_layout(sync), CATALOG.resources[sync.resource]
    builder = PayloadBuilder(sync, layout, found)
    return Rules(sync=sync, resource=found, layout=layout, builder=builder, now=datetime.now(UTC))


def row(asked, body, *, written=None, known=False, cells=None, **more):
    diff = RowDiff(
        kind=Kind.CHANGED,
        key="1",
        row=cells or {},
        source_hash=1,
        refs="",
        stripe_id="cus_1",
        params=WRITTEN if written is None else written,
        payload_hash="x",
        adopted=False,
        drifted=body,
        drift="digest",
        is_drift_known=known,
        **more,
    )
    return Row(diff=diff, payload=Payload(params=dict(asked), absent={}, problems=()))


def as_shown(**changed):
    return {"id": "cus_1", "phone": None, **WRITTEN, **changed}


EDITS: dict[str, Any] = {
    "a field": ({"name": "Anna"}, ["name"], {"name": "Ann"}),
    "a field that was emptied": ({"name": None}, ["name"], {"name": "Ann"}),
    "two fields": ({"name": "Anna", "email": "x@y.z"}, ["name", "email"], {"name": "Ann", "email": "a@example.com"}),
    "a metadata key": (
        {"metadata": {"plan": "gold", "theirs": "1"}},
        ["metadata.plan"],
        {"metadata": {"plan": "team"}},
    ),
    "a metadata key that was removed": ({"metadata": {}}, ["metadata.plan"], {"metadata": {"plan": "team"}}),
    "a part of a hash": (
        {"address": {"city": "Basel", "line1": "1", "country": "CH"}},
        ["address.city"],
        # What nobody maps stays, and so goes along.
        {"address": {"city": "Bern", "line1": "1", "country": "CH"}},
    ),
    "a hash that was removed": ({"address": None}, ["address"], {"address": {"city": "Bern", "line1": "1"}}),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("known", [False, True])
def test_report_sends_nothing_and_names_the_fields(edit, known):
    body, paths, _ = EDITS[edit]
    asked = row(WRITTEN, as_shown(**body), known=known)

    decision = decide(rules(), asked, Observed())

    assert isinstance(decision, Refresh)
    assert decision.record.params == WRITTEN
    entry = drifted_object(rules(), asked, decision)
    assert [part.path for part in entry.changed] == paths
    assert entry.is_reported


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("known", [False, True])
def test_keep_sends_nothing_and_is_reported_once(edit, known):
    asked = row(WRITTEN, as_shown(**EDITS[edit][0]), known=known)
    keep = rules(on_drift="keep")

    decision = decide(keep, asked, Observed())

    assert isinstance(decision, Refresh)
    assert decision.record.params == WRITTEN
    assert drifted_object(keep, asked, decision).is_reported is not known


@pytest.mark.parametrize("edit", EDITS)
def test_overwrite_sends_what_differs_and_nothing_else(edit):
    body, paths, sent = EDITS[edit]
    overwrite = rules(on_drift="overwrite")
    asked = row(WRITTEN, as_shown(**body))

    decision = decide(overwrite, asked, Observed())

    assert isinstance(decision, Change)
    assert decision.action is Action.UPDATE
    assert [dict(call.params) for call in decision.calls] == [sent]
    assert {part.path.split(".")[0] for part in decision.changed} == {path.split(".")[0] for path in paths}
    assert decision.desired == WRITTEN
    assert not drifted_object(overwrite, asked, decision).is_reported


@pytest.mark.parametrize("on_drift", ["report", "keep"])
def test_a_part_of_a_hash_that_others_changed_is_kept_when_the_hash_is_sent(on_drift):
    asked = {**WRITTEN, "address": {"city": "Bern", "line1": "2"}}
    body = as_shown(address={"city": "Basel", "line1": "1"})

    decision = decide(rules(on_drift=on_drift), row(asked, body), Observed())

    assert isinstance(decision, Change)
    assert dict(decision.calls[0].params) == {"address": {"city": "Basel", "line1": "2"}}
    assert decision.desired == asked


@pytest.mark.parametrize(("on_drift", "sent"), [("report", None), ("keep", "Annette"), ("overwrite", "Annette")])
def test_a_field_changed_on_both_sides_follows_the_drift_setting(on_drift, sent):
    asked = row({**WRITTEN, "name": "Annette"}, as_shown(name="Anna"))

    decision = decide(rules(on_drift=on_drift), asked, Observed())

    if sent is None:
        assert isinstance(decision, Keep)
    else:
        assert isinstance(decision, Change)
        assert dict(decision.calls[0].params) == {"name": sent}
        assert decision.changed[0].before == "Anna"


@pytest.mark.parametrize("on_drift", ["report", "keep", "overwrite"])
def test_a_row_that_matches_the_new_value_has_no_drift(on_drift):
    asked = row({**WRITTEN, "name": "Anna"}, as_shown(name="Anna"))

    decision = decide(rules(on_drift=on_drift), asked, Observed())

    assert isinstance(decision, Refresh)
    assert decision.record.params["name"] == "Anna"
    assert drifted_object(rules(on_drift=on_drift), asked, decision) is None


def test_an_insert_only_sync_never_overwrites_existing_values():
    asked = row(WRITTEN, as_shown(name="Anna"))

    decision = decide(rules(on_drift="overwrite", mode="insert"), asked, Observed())

    assert isinstance(decision, Refresh)


SUBSCRIBED = {"customer": "cus_A1b2C3d4E5f6G7h8", "items": [{"price": "price_A1b2C3d4E5f6G7h8", "quantity": 2}]}


@pytest.mark.parametrize("status", ["canceled", "incomplete_expired"])
@pytest.mark.parametrize(("when_ended", "action"), [("keep", None), ("restart", Action.CREATE)])
@pytest.mark.parametrize("on_drift", ["report", "keep", "overwrite"])
def test_an_ended_object_follows_when_ended_whatever_drift_does(status, when_ended, action, on_drift):
    ended = rules("subscription", when_ended=when_ended, on_drift=on_drift)
    cells = {"c": SUBSCRIBED["customer"], "i": json.dumps(SUBSCRIBED["items"]), "d": None}
    body = {"id": "sub_1", "status": status, "items": {"data": []}}
    asked = row(SUBSCRIBED, body, written=SUBSCRIBED, cells=cells)

    decision = decide(ended, asked, Observed())

    assert (decision.action if isinstance(decision, Change) else None) is action
    if action is None:
        assert drifted_object(ended, asked, decision) is None


@pytest.mark.parametrize(("on_deleted", "kind"), [("reject", Reject), ("recreate", Change), ("forget", Keep)])
@pytest.mark.parametrize("on_drift", ["report", "keep", "overwrite"])
def test_a_deleted_object_follows_on_deleted_whatever_drift_does(on_deleted, kind, on_drift):
    asked = row(WRITTEN, None, missing=True)

    assert isinstance(decide(rules(on_deleted=on_deleted, on_drift=on_drift), asked, Observed()), kind)


ITEM = {"id": "si_1", "price": {"id": "price_A1b2C3d4E5f6G7h8", "unit_amount": 5}, "quantity": 2, "metadata": {}}
OTHER = {"id": "si_2", "price": {"id": "price_Z1b2C3d4E5f6G7h8"}, "quantity": 1, "metadata": {}}


@pytest.mark.parametrize(
    ("shown", "drifts"),
    [
        ([ITEM], False),
        ([ITEM, OTHER], False),
        ([OTHER, ITEM], False),
        ([{**ITEM, "quantity": 3}], True),
        ([{**ITEM, "quantity": 3}, OTHER], True),
        ([OTHER], True),
        ([], True),
    ],
)
def test_only_items_of_the_row_count_as_drift(shown, drifts):
    body = {"id": "sub_1", "status": "active", "items": {"data": shown, "has_more": False}}

    found = find_drift(SUBSCRIBED, body, CATALOG.resources["subscription"])

    assert [part.path for part in found.fields] == ([("items",)] if drifts else [])


@pytest.mark.parametrize(
    ("resource", "ours", "shown"),
    [
        ("coupon", {"percent_off": "12.5"}, {"percent_off": 12.5}),
        ("coupon", {"percent_off": "10"}, {"percent_off": 10.0}),
        ("price", {"currency": "USD"}, {"currency": "usd"}),
        ("price", {"product": "prod_A1b2C3d4E5f6G7"}, {"product": {"id": "prod_A1b2C3d4E5f6G7"}}),
        ("price", {"unit_amount_decimal": "10.5"}, {"unit_amount_decimal": "10.5"}),
        ("subscription", {"trial_end": "now"}, {"trial_end": 1_900_000_000}),
        ("subscription", {"payment_behavior": "allow_incomplete"}, {"payment_behavior": "x"}),
        ("subscription", {"discounts": [{"coupon": "SPRING"}]}, {"discounts": ["di_A1b2C3d4E5f6G7h8"]}),
        ("subscription", {"billing_cycle_anchor": 1}, {"billing_cycle_anchor": 2}),
        (
            "subscription",
            {"default_tax_rates": ["txr_A1b2C3d4E5f6G7h8"]},
            {"default_tax_rates": [{"id": "txr_A1b2C3d4E5f6G7h8"}]},
        ),
        ("customer", {"balance": -500}, {"balance": 0}),
        ("customer", {"name": " Ann "}, {"name": "Ann"}),
        ("customer", {"metadata": {"n": "5"}}, {"metadata": {"n": "5", "x": "y"}}),
        ("customer", {"tax": {"validate_location": "deferred"}}, {"tax": {"ip_address": None}}),
    ],
)
def test_values_in_stripes_own_format_are_not_drift(resource, ours, shown):
    assert find_drift(ours, {"id": "x", **shown}, CATALOG.resources[resource]).fields == ()


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged", "clash"),
    [
        (1, 1, 1, 1, False),
        (1, 2, 1, 2, False),
        (1, 1, 2, 2, False),
        (1, 2, 2, 2, False),
        (1, 2, 3, 2, True),
        ("a", None, "b", None, True),
        ("a", "a", None, None, False),
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}, False),
        ({"a": 1}, {"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}, False),
        ([{"a": 1}, {"a": 1}], [{"a": 2}, {"a": 1}], [{"a": 1}, {"a": 3}], [{"a": 2}, {"a": 3}], False),
        ([1, 2], [1, 2], [1], [1], False),
        ([1, 2], [1, 3], [1], [1, 3], True),
    ],
)
def test_values_are_merged_three_ways_and_conflicts_are_found(base, ours, theirs, merged, clash):
    assert merge(base, ours, theirs) == (merged, clash)


def test_an_object_that_was_read_back_is_not_read_again():
    subscription = rules("subscription", on_drift="overwrite")
    body = {"id": "sub_1", "status": "active", "items": {"data": [{**ITEM, "quantity": 3}], "has_more": False}}
    asked = row(SUBSCRIBED, body, written=SUBSCRIBED)

    decision = decide(subscription, asked, Observed(body=body))

    assert isinstance(decision, Change)
    assert decision.calls[0].params["items"] == [{"id": "si_1", "quantity": 2}]
