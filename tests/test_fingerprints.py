"""Comparing with hashes finds what comparing with values finds, whatever the parameters."""

from __future__ import annotations

import orjson
import pytest
from examples import up_to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbt_stripe_sync.engine.payload.builder import Payload
from dbt_stripe_sync.engine.payload.compare import compare, same
from dbt_stripe_sync.model.change import Fingerprint
from dbt_stripe_sync.model.codec import canonical, decode_params, encode_params
from dbt_stripe_sync.model.fingerprints import Fingerprints, Retention, Salt
from dbt_stripe_sync.model.record import Record
from dbt_stripe_sync.model.sync import Nulls
from dbt_stripe_sync.stripe_api.catalog import read_catalog

CALM = settings(deadline=None, max_examples=up_to(300), suppress_health_check=[HealthCheck.too_slow])
SALT = Salt.of(b"s" * 32)
HASHING = Fingerprints(retention=Retention(default=False), current=SALT, known={SALT.id: SALT})
CUSTOMER = read_catalog().resources["customer"]
PRICE = read_catalog().resources["price"]

# Few different values, so that equal ones meet; among them those that look like hashes and like ids.
TEXT = st.sampled_from(["a", "b", "", "#", "#a", "cus_NffrFeUfNV2Hib", "é", "1", "true"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=3
)
LEAF = TEXT | st.integers(-2, 2) | st.booleans()
MAP = st.dictionaries(st.sampled_from(["x", "y", "$ref", "$fingerprint"]), TEXT, min_size=1, max_size=3)
ADDRESS = st.dictionaries(st.sampled_from(["city", "line1", "country"]), TEXT, min_size=1, max_size=3)
CUSTOMERS = st.fixed_dictionaries(
    {},
    optional={
        "email": TEXT,
        "name": TEXT,
        "balance": st.integers(-2, 2),
        "metadata": MAP,
        "address": ADDRESS,
        "shipping": st.fixed_dictionaries({"name": TEXT}, optional={"address": ADDRESS}),
        "preferred_locales": st.lists(TEXT, max_size=2),
        "tax_exempt": st.sampled_from(["none", "exempt"]),
        "payment_method": TEXT,
    },
)
PRICES = st.fixed_dictionaries(
    {"currency": st.sampled_from(["eur", "usd"])},
    optional={
        "unit_amount": st.integers(0, 2),
        "nickname": TEXT,
        "active": st.booleans(),
        "lookup_key": TEXT,
        "metadata": MAP,
        "recurring": st.fixed_dictionaries({"interval": st.sampled_from(["month", "year"])}),
        "tiers": st.lists(st.fixed_dictionaries({"up_to": st.integers(1, 2)}), max_size=2),
    },
)
ANYTHING = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)


def record(params, key="1", **more):
    values = {"sync": "people", "resource": "customer", "stripe_id": "cus_1", "payload_hash": "", "source_hash": None}
    return Record(**{**values, "key": key, "params": params, "refs": None, **more})


def stored(params, key="1", hashing=HASHING):
    """Parameters as they come back from the state."""
    sealed, salt = hashing.seal(record(params, key))
    return hashing.parse(canonical(sealed.params), salt, key)


def payload(params, absent, nulls):
    return Payload(params=params, absent=dict.fromkeys(absent, nulls), problems=())


def found(comparison):
    return (
        comparison.update,
        comparison.immutable,
        comparison.uncleared,
        [(change.path, change.after) for change in comparison.changed],
    )


@pytest.mark.parametrize(("resource", "rows"), [(CUSTOMER, CUSTOMERS), (PRICE, PRICES)], ids=["customer", "price"])
@CALM
@given(data=st.data(), nulls=st.sampled_from(Nulls))
def test_comparing_hashes_finds_the_same_changes_as_comparing_values(resource, rows, data, nulls):
    before, after = data.draw(rows), data.draw(rows)
    mapped = frozenset((name,) for name in (*before, *after))
    asked = payload(after, [path for path in mapped if path[0] not in after], nulls)

    with_values = compare(orjson.loads(canonical(before)), asked, resource, mapped)
    with_hashes = compare(stored(before), asked, resource, mapped)

    assert found(with_hashes) == found(with_values)
    assert stored(with_hashes.desired) == stored(with_values.desired)


@CALM
@given(before=ANYTHING, after=ANYTHING)
def test_equal_values_have_equal_fingerprints(before, after):
    held = stored({"x": before})

    assert same(held, {"x": before})
    assert same(held, {"x": after}) == same({"x": before}, {"x": after})


@CALM
@given(params=CUSTOMERS)
def test_hashes_in_plans_are_not_hashed_again(params):
    held = stored(params)

    passed = decode_params(orjson.loads(orjson.dumps(encode_params(held))))

    assert passed == held
    assert stored(passed) == held


@CALM
@given(params=CUSTOMERS)
def test_only_names_and_ids_stay_readable(params):
    sealed, _ = HASHING.seal(record(params))

    def leaves(value):
        if isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from leaves(part)
        else:
            yield value

    assert all(
        leaf == "cus_NffrFeUfNV2Hib" or (leaf.startswith("#") and len(leaf) == 23) for leaf in leaves(sealed.params)
    )


def test_the_same_value_of_another_row_or_with_another_salt_has_another_hash():
    other = Salt.of(b"t" * 32)
    salted = Fingerprints(retention=Retention(default=False), current=other, known={other.id: other})

    hashes = {stored({"name": "Ann"})["name"], stored({"name": "Ann"}, key="2")["name"]}
    hashes |= {stored({"name": "Ann"}, hashing=salted)["name"]}

    assert len(hashes) == 3


def test_a_stripe_key_is_not_an_object_id():
    key = "sk_test_51Nff" + "rFeUfNV2Hib"  # in two parts, so that nobody takes it for one

    assert isinstance(stored({"name": key})["name"], Fingerprint)
    assert stored({"name": "cus_NffrFeUfNV2Hib"})["name"] == "cus_NffrFeUfNV2Hib"


def test_url_parameters_and_finished_steps_stay_readable():
    hashing = Fingerprints(
        retention=Retention(default=False, in_path=lambda _: frozenset({"customer"})),
        current=SALT,
        known={SALT.id: SALT},
    )

    held = stored({"customer": "c-1", "value": "DE1", "$finished": ["finalize"]}, hashing=hashing)

    assert held["customer"] == "c-1"
    assert held["$finished"] == ["finalize"]
    assert isinstance(held["value"], Fingerprint)


def test_a_record_hashed_with_an_unknown_salt_stays_incomparable():
    held = stored({"name": "Ann", "email": "a@example.com"})
    other = Salt.of(b"t" * 32)
    later = Fingerprints(retention=Retention(default=False), current=other, known={other.id: other})

    sealed, salt = later.seal(record({**held, "active": False}))

    assert salt == SALT.id
    assert not later.can_read(salt)
    assert sealed.params["active"].startswith("#")
    assert not same(later.parse(canonical(sealed.params), salt, "1"), {"name": "Ann", "email": "a@example.com"})
