"""Values as JSON and back, exactly."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbt_stripe_sync.model.calls import StripeFailure
from dbt_stripe_sync.model.change import Action, Change, FieldChange, Fingerprint, NotStored, Owed, PlannedCall, Ref
from dbt_stripe_sync.model.codec import (
    canonical,
    decode_change,
    decode_counts,
    decode_failure,
    decode_header,
    decode_intent,
    decode_owed,
    decode_params,
    decode_problem,
    encode_change,
    encode_counts,
    encode_failure,
    encode_header,
    encode_intent,
    encode_owed,
    encode_params,
    encode_problem,
)
from dbt_stripe_sync.model.errors import Location, Problem, Severity
from dbt_stripe_sync.model.plan import Note, PlanHeader, SyncCounts
from dbt_stripe_sync.model.run import Intent

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAME = TEXT | st.sampled_from(["$ref", "$$ref", "$", "ref", "$fingerprint", "$$fingerprint", "$not_stored"])
MAYBE = st.none() | TEXT
SCALAR = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | TEXT | st.builds(Ref, sync=TEXT, key=TEXT)
UNSTORED = st.builds(Fingerprint, salt=TEXT, digest=TEXT) | st.builds(NotStored, kind=TEXT)
VALUE = st.recursive(
    SCALAR | UNSTORED, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3)
)
PARAMS = st.dictionaries(NAME, VALUE, max_size=4)
MOMENT = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
COUNT = st.integers(0, 10**9)

FAILURES = st.none() | st.builds(
    StripeFailure,
    type=TEXT,
    status=st.none() | st.integers(100, 599),
    code=MAYBE,
    param=MAYBE,
    message=MAYBE,
    decline_code=MAYBE,
    doc_url=MAYBE,
)
OWED = st.builds(
    Owed,
    id=TEXT,
    sync=TEXT,
    key=TEXT,
    resource=TEXT,
    action=st.sampled_from(Action),
    operation=TEXT,
    target=TEXT,
    params=PARAMS,
    reason=TEXT,
    since=st.none() | MOMENT,
    attempts=COUNT,
    failure=FAILURES,
    request_id=MAYBE,
)
CHANGES = st.builds(
    Change,
    id=TEXT,
    action=st.sampled_from(Action),
    sync=TEXT,
    key=TEXT,
    resource=TEXT,
    stripe_id=MAYBE,
    calls=st.lists(st.builds(PlannedCall, operation=TEXT, target=MAYBE, params=PARAMS), max_size=2).map(tuple),
    desired=PARAMS,
    changed=st.lists(st.builds(FieldChange, path=TEXT, before=VALUE, after=VALUE), max_size=2).map(tuple),
    depends_on=st.lists(TEXT, max_size=2).map(tuple),
    source_hash=st.none() | st.integers(0, 2**64 - 1),
    refs=MAYBE,
    reason=MAYBE,
    found_by=MAYBE,
    removed=st.booleans(),
    gone=st.booleans(),
    owes=st.lists(OWED, max_size=2).map(tuple),
    settles=st.lists(TEXT, max_size=2).map(tuple),
    before=PARAMS,
    rebuilt=st.booleans(),
)
# Hypothesis can't read the types of its fields: its module imports them for type checkers alone.
INTENTS = st.builds(
    lambda change, **rest: Intent(change=change, **rest),
    CHANGES,
    id=TEXT,
    run_id=TEXT,
    keys=st.lists(TEXT, max_size=2).map(tuple),
    step=st.integers(0, 5),
    stripe_id=MAYBE,
    key_sent_at=st.none() | MOMENT,
    key_spent=st.booleans(),
)
LOCATIONS = st.builds(Location, file=MAYBE, model=MAYBE, sync=MAYBE, field=MAYBE, key=MAYBE)
PROBLEMS = st.builds(Problem, code=TEXT, summary=TEXT, where=LOCATIONS, hint=MAYBE, severity=st.sampled_from(Severity))
COUNTS = st.builds(
    SyncCounts,
    sync=TEXT,
    model=TEXT,
    resource=TEXT,
    rows=COUNT,
    same=COUNT,
    rejected=COUNT,
    held=MAYBE,
    by_action=st.dictionaries(TEXT, COUNT, max_size=3),
    calls=COUNT,
    read_seconds=st.floats(0, 1e6),
    diff_seconds=st.floats(0, 1e6),
    notes=st.lists(st.builds(Note, text=TEXT, rows=st.none() | st.integers(0, 9)), max_size=2).map(tuple),
)
HEADERS = st.builds(
    PlanHeader,
    plan_id=TEXT,
    created_at=MOMENT,
    project=TEXT,
    target=TEXT,
    account=TEXT,
    livemode=st.booleans(),
    api_version=TEXT,
    state_id=TEXT,
    state_serial=COUNT,
    manifest_digest=TEXT,
    version=TEXT,
)


def over_json(encoded):
    return orjson.loads(orjson.dumps(encoded))


@CALM
@given(PARAMS)
def test_parameters_survive_a_round_trip(params):
    assert decode_params(over_json(encode_params(params))) == params


@CALM
@given(CHANGES)
def test_changes_survive_a_round_trip(change):
    assert decode_change(over_json(encode_change(change))) == change


@CALM
@given(INTENTS)
def test_intents_survive_a_round_trip(intent):
    assert decode_intent(over_json(encode_intent(intent))) == intent


@CALM
@given(PROBLEMS)
def test_problems_survive_a_round_trip(problem):
    assert decode_problem(over_json(encode_problem(problem))) == problem


@CALM
@given(FAILURES)
def test_failures_survive_a_round_trip(failure):
    assert decode_failure(over_json(encode_failure(failure))) == failure


@CALM
@given(OWED)
def test_owed_steps_survive_a_round_trip(step):
    assert decode_owed(over_json(encode_owed(step))) == step


def test_counts_of_earlier_formats_are_read():
    raw = {"sync": "customers", "model": "customers", "resource": "customer", "notes": ["as text", ["as a list", 3]]}
    assert decode_counts(raw).notes == (Note(text="as text"), Note(text="as a list", rows=3))


@pytest.mark.parametrize(
    ("decode", "raw"),
    [
        (decode_problem, {"code": "a", "summary": 7}),
        (decode_failure, {"type": "api_error", "status": "five hundred"}),
        (decode_counts, {"sync": "a", "model": "a", "resource": "customer", "rows": "many", "notes": []}),
        (decode_header, {"plan_id": "a", "created_at": "some day"}),
        (decode_owed, {"id": "a", "params": {}, "action": "archive"}),
    ],
)
def test_values_of_another_type_are_refused(decode, raw):
    with pytest.raises(ValueError, match=r"Expected|Invalid|missing"):
        decode(raw)


@CALM
@given(COUNTS)
def test_counts_survive_a_round_trip(counts):
    assert decode_counts(over_json(encode_counts(counts))) == counts


@CALM
@given(HEADERS)
def test_headers_survive_a_round_trip(header):
    assert decode_header(over_json(encode_header(header))) == header


@CALM
@given(PARAMS)
def test_canonical_text_is_the_same_however_the_names_are_ordered(params):
    turned = dict(reversed(params.items()))
    assert canonical(turned) == canonical(params)


@CALM
@given(st.dictionaries(TEXT, st.integers(-(2**63), 2**63) | TEXT | st.booleans() | st.none(), max_size=4))
def test_canonical_text_is_json(params):
    assert json.loads(canonical(params)) == params


def test_canonical_text_has_no_space_and_its_names_are_sorted():
    assert canonical({"b": [1, {"d": None, "c": True}], "a": "ä"}) == '{"a":"ä","b":[1,{"c":true,"d":null}]}'


def test_canonical_text_of_a_reference_names_its_row():
    assert canonical({"customer": Ref(sync="people", key="7")}) == '{"customer":{"$ref":["people","7"]}}'


@pytest.mark.parametrize(
    "value", [1.5, Decimal("1.5"), datetime.now(UTC), timedelta(1), b"x", {"a": [{"b": 0.1}]}, {1, 2}]
)
def test_values_that_stripe_does_not_accept_have_no_canonical_text(value):
    with pytest.raises(TypeError, match="has no canonical form"):
        canonical({"value": value})


def test_a_metadata_key_named_ref_survives_a_round_trip():
    params = {"metadata": {"$ref": ["people", "7"]}}
    assert decode_params(encode_params(params)) == params
