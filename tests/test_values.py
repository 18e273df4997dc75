"""Cells become parameters: exact, checked, and the same for equal values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.engine.payload.values import BadValueError, convert
from dbt_stripe_sync.model.change import Ref
from dbt_stripe_sync.model.codec import canonical, decode_params, encode_params
from dbt_stripe_sync.model.params import Param, ParamKind
from dbt_stripe_sync.model.sync import Conversion

INTEGER = Param(name="n", kind=ParamKind.INTEGER)
NUMBER = Param(name="n", kind=ParamKind.NUMBER)
TEXT = Param(name="n", kind=ParamKind.STRING)
BOOLEAN = Param(name="n", kind=ParamKind.BOOLEAN)
LIST = Param(name="n", kind=ParamKind.LIST, item=TEXT)
METADATA = Param(name="metadata", kind=ParamKind.MAP, values=TEXT)
TRIAL_END = Param(name="trial_end", kind=ParamKind.INTEGER, enum=("now",))

scalars = st.one_of(st.text(), st.integers(-(2**53), 2**53), st.booleans(), st.none())
refs = st.builds(Ref, sync=st.text(), key=st.text())
names = st.text().filter(lambda name: name != "$ref")
params = st.recursive(
    st.one_of(scalars, refs), lambda part: st.one_of(st.lists(part), st.dictionaries(names, part)), max_leaves=20
)


@given(params)
def test_parameters_survive_a_json_round_trip(value):
    assert decode_params(orjson.loads(orjson.dumps(encode_params(value)))) == value


@given(st.dictionaries(names, scalars))
def test_canonical_json_does_not_depend_on_the_order_of_names(value):
    assert canonical(value) == canonical(dict(reversed(list(value.items()))))


@given(st.dictionaries(names, scalars), st.dictionaries(names, scalars))
def test_canonical_json_differs_if_the_meaning_does(one, other):
    def typed(values):
        return {name: (type(value), value) for name, value in values.items()}

    assert (canonical(one) == canonical(other)) == (typed(one) == typed(other))


@pytest.mark.parametrize("value", [1.5, Decimal(1), {"a": 0.1}, [float("nan")]])
def test_canonical_json_rejects_inexact_numbers(value):
    with pytest.raises(TypeError):
        canonical(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_decimal_reaches_stripe_with_every_digit(number):
    assert Decimal(convert(number, NUMBER)) == number
    assert "E" not in convert(number, NUMBER)


@given(st.integers())
def test_a_whole_number_is_the_same_from_any_type(number):
    assert convert(number, INTEGER) == convert(Decimal(number), INTEGER) == convert(str(number), INTEGER) == number


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)))
def test_a_time_without_a_zone_is_utc(moment):
    assert convert(moment, INTEGER) == int(moment.replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("cell", "param", "conversion", "value"),
    [
        (date(2026, 1, 1), INTEGER, None, 1767225600),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), INTEGER, None, 1767225600),
        ("2026-01-01T00:00:00Z", INTEGER, Conversion.UNIX_SECONDS, 1767225600),
        (date(2026, 1, 1), TEXT, None, "2026-01-01"),
        (date(2026, 1, 1), TEXT, Conversion.UNIX_SECONDS, "1767225600"),
        ("now", TRIAL_END, None, "now"),
        (True, BOOLEAN, None, True),
        ("false", BOOLEAN, None, False),
        (1, BOOLEAN, None, True),
        (Decimal("1.50"), TEXT, None, "1.50"),
        (0.1, TEXT, None, "0.1"),
        (True, TEXT, None, "true"),
        (["a", None, 1], LIST, None, ["a", "1"]),
        ('["a","b"]', LIST, None, ["a", "b"]),
        ([("a", 1), ("b", None)], METADATA, None, {"a": "1"}),
        ({"a": {"b": 1}}, METADATA, None, {"a": '{"b":1}'}),
    ],
)
def test_cells_are_converted_to_the_parameters_type(cell, param, conversion, value):
    made = convert(cell, param, conversion)

    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("cell", "param", "reason"),
    [
        ("twelve", INTEGER, "is text, but Stripe expects a whole number"),
        (Decimal("1.5"), INTEGER, "has decimals, but Stripe expects a whole number"),
        (True, INTEGER, "is true or false, but Stripe expects a whole number"),
        (Decimal("NaN"), NUMBER, "is not finite, but Stripe expects a number"),
        ("nan", NUMBER, "is not finite, but Stripe expects a number"),
        ("maybe", BOOLEAN, "is text, but Stripe expects true or false"),
        (2, BOOLEAN, "is a number, but Stripe expects true or false"),
        ({"a": 1}, TEXT, "is a struct, but Stripe expects text"),
        (b"x", TEXT, "is binary, but Stripe expects text"),
        ("no json", LIST, "is not valid JSON"),
        (5, LIST, "is a number, but Stripe expects a list"),
    ],
)
def test_a_cell_of_the_wrong_type_is_reported_without_its_value(cell, param, reason):
    with pytest.raises(BadValueError) as bad:
        convert(cell, param)

    assert bad.value.reason == reason
    assert str(cell) not in bad.value.reason or str(cell) in {"5", "2"}
