"""A plan for machines."""

from __future__ import annotations

import json

from made import ListedChanges, make_change, make_counts, make_plan, row_problem
from msgspec.structs import replace

from dbt_stripe_sync.model.change import Action, FieldChange, PlannedCall, Ref
from dbt_stripe_sync.model.plan import DriftedObject
from dbt_stripe_sync.report.plan_json import render_plan


def read(plan, **given):
    return json.loads("\n".join(render_plan(plan, **given)))


def test_a_plan_is_one_json_document_with_every_change():
    changes = [make_change(str(n), changed={"email": ("a@x.com", "b@x.com")}) for n in range(1000)]
    document = read(
        make_plan(changes, [make_counts(rows=1000, by_action={"update": 1000}, calls=1000)], [row_problem("5")])
    )

    assert document["format"] == 1
    assert document["plan"]["account"] == "acct_1AbCdEfGhIjKlMn0"
    assert document["syncs"][0]["changes"] == {"update": 1000}
    assert document["problems"][0]["where"]["key"] == "5"
    assert [change["key"] for change in document["changes"]] == [str(n) for n in range(1000)]


def test_an_empty_plan_is_also_a_json_document():
    assert read(make_plan())["changes"] == []


def test_values_are_included_only_on_request():
    plan = make_plan([make_change("1", changed={"email": ("a@x.com", "b@x.com")}, params={"email": "b@x.com"})])

    assert "x.com" not in json.dumps(read(plan))
    (change,) = read(plan, with_values=True)["changes"]
    assert change["fields"] == [{"path": "email", "before": "a@x.com", "after": "b@x.com"}]
    assert change["calls"][0]["params"] == {"email": "b@x.com"}


def test_references_secrets_and_unusual_values_can_be_written_as_json():
    params = {
        "customer": Ref(sync="customers", key="7"),
        "card": {"number": "4242", "name": "x"},
        "huge": 10**30,
        "half": "\ud83d",
        "key": "rk_live_abcdefgh",
    }
    change = make_change("1", Action.CREATE, calls=(PlannedCall(operation="create", target=None, params=params),))
    (shown,) = read(make_plan([change]), with_values=True)["changes"]

    assert shown["calls"][0]["params"] == {
        "customer": {"$ref": ["customers", "7"]},
        "card": {"number": "(hidden)", "name": "x"},
        "huge": str(10**30),
        "half": "?",
        "key": "rk_…",
    }


def test_a_call_can_target_an_object_that_the_plan_creates():
    target = Ref(sync="customers", key="7")
    change = make_change("1", Action.CREATE, calls=(PlannedCall(operation="create", target=target, params={}),))

    (shown,) = read(make_plan([change]))["changes"]

    assert shown["calls"][0]["target"] == {"$ref": ["customers", "7"]}


def test_a_plan_is_written_while_it_is_read():
    changes = ListedChanges(make_change(str(n)) for n in range(1000))
    lines = render_plan(make_plan(changes))

    assert next(lines).endswith('"changes":[')
    assert next(lines).startswith('{"sync":"customers","key":"0"')


def test_a_value_that_someone_changed_in_stripe_never_shows_a_key():
    entry = DriftedObject(
        sync="customers",
        key="1",
        resource="customer",
        stripe_id="cus_1",
        digest="d",
        changed=(FieldChange(path="description", before="ours", after="rk_live_abcdefgh"),),
        is_reported=True,
    )
    mistaken = replace(entry, key="sk_live_abcdefgh")
    drifted = read(replace(make_plan(), refreshes=[entry, mistaken]), with_values=True)["drifted"]

    assert [line["key"] for line in drifted] == ["1", "sk_…"]
    assert drifted[0]["fields"] == [{"path": "description", "ours": "ours", "theirs": "rk_…"}]
