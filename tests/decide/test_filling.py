"""Parts of a hash that nothing maps survive an update, whether Stripe replaces a hash or merges its parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.engine.payload.filling import fill, partly_sent
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.stripe_api.catalog import read_catalog

CUSTOMER = read_catalog().resources["customer"]
LINK = read_catalog().resources["payment_link"]
ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
texts = st.text("abc", min_size=1, max_size=3)
addresses = st.fixed_dictionaries({}, optional=dict.fromkeys(ADDRESS, texts))
shippings = st.fixed_dictionaries({}, optional={"name": texts, "phone": texts, "address": addresses})
settings_of_invoices = st.fixed_dictionaries({}, optional={"footer": texts, "default_payment_method": texts})
bodies = st.fixed_dictionaries(
    {}, optional={"address": addresses, "shipping": shippings, "invoice_settings": settings_of_invoices}
)


def replaced(_body: Any, sent: Any) -> Any:
    """A Stripe that takes a hash as all that there is."""
    if isinstance(sent, dict):
        return {name: replaced({}, part) for name, part in sent.items() if part != ""}
    return sent


def merged(body: Any, sent: Any) -> Any:
    """A Stripe that changes the parts that are named."""
    if not isinstance(sent, dict):
        return sent
    body = body if isinstance(body, dict) else {}
    parts = {**body, **{name: merged(body.get(name), part) for name, part in sent.items()}}
    return {name: part for name, part in parts.items() if part != ""}


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {inner: leaf for name, part in value.items() for inner, leaf in leaves(part, (*path, name)).items()}


def sent_with(update: dict[str, Any], body: dict[str, Any], resource: Any = CUSTOMER) -> dict[str, Any]:
    names = frozenset(partly_sent(update, resource.params, resource.lifecycle))
    return fill(update, names, body, resource.params)


@given(body=bodies, update=bodies, cleared=st.sets(st.sampled_from(ADDRESS)))
@pytest.mark.parametrize("stripe", [replaced, merged])
def test_unmapped_parts_survive_and_mapped_ones_are_sent(stripe, body, update, cleared):
    if "address" in update:
        update = {**update, "address": {**update["address"], **dict.fromkeys(cleared, "")}}
    after = {**body, **stripe(body, sent_with(update, body))}

    asked = leaves(update)
    for path, value in leaves(after).items():
        assert value == asked.get(path, leaves(body).get(path))
    for path, value in asked.items():
        if value != "":
            assert leaves(after)[path] == value
    for path, value in leaves(body).items():
        assert path in asked or leaves(after)[path] == value


def test_an_object_is_read_only_if_it_may_have_more_than_is_sent():
    whole = dict.fromkeys(ADDRESS, "x")

    assert partly_sent({"address": whole, "email": "a@example.com"}, CUSTOMER.params, CUSTOMER.lifecycle) == ()
    assert partly_sent({"address": ""}, CUSTOMER.params, CUSTOMER.lifecycle) == ()
    assert partly_sent({"metadata": {"plan": "team"}}, CUSTOMER.params, CUSTOMER.lifecycle) == ()
    assert partly_sent({"address": {"city": "Graz"}}, CUSTOMER.params, CUSTOMER.lifecycle) == ("address",)


def test_an_update_does_not_repeat_replaced_values():
    body = {"after_completion": {"type": "hosted_confirmation", "hosted_confirmation": {"custom_message": "Thanks"}}}
    update = {"after_completion": {"type": "redirect", "redirect": {"url": "https://example.com"}}}

    assert sent_with(update, body, LINK) == update


def test_an_expanded_object_is_sent_as_its_id():
    body = {"invoice_settings": {"default_payment_method": {"id": "pm_1", "object": "payment_method"}, "footer": None}}

    sent = sent_with({"invoice_settings": {"footer": "Thanks"}}, body)

    assert sent == {"invoice_settings": {"footer": "Thanks", "default_payment_method": "pm_1"}}


def test_metadata_inside_a_hash_keeps_the_keys_of_others():
    body = {"payment_intent_data": {"metadata": {"team": "sales", "old": "x"}, "description": "Desk"}}
    update = {"payment_intent_data": {"metadata": {"plan": "pro", "old": ""}}}

    sent = sent_with(update, body, LINK)

    assert sent == {
        "payment_intent_data": {"metadata": {"team": "sales", "plan": "pro", "old": ""}, "description": "Desk"}
    }


def test_verified_merchant_data_is_not_sent_again():
    account = read_catalog().resources["account"]

    assert partly_sent({"company": {"phone": "1"}}, account.params, account.lifecycle) == ()


def test_hashes_in_maps_need_no_filling():
    """What a map's hash has beside its amount is final or excludes the amount, so nothing of it can be lost."""
    known = {
        "amount",
        "amount_off",
        "unit_amount",
        "unit_amount_decimal",
        "tax_behavior",
        "custom_unit_amount",
        "tiers",
    }
    for resource in read_catalog().resources.values():
        for param in resource.params.values():
            if param.kind is ParamKind.MAP and param.values is not None and param.values.fields and param.updatable:
                assert set(param.values.fields) <= known, (resource.name, param.name)


# ── every hash of every resource ─────────────────────────────────────────────────────────────────────────────────────

_EXAMPLES = {
    ParamKind.STRING: ("a", "b"),
    ParamKind.INTEGER: (1, 2),
    ParamKind.BOOLEAN: (True, False),
    ParamKind.NUMBER: ("1.5", "2.5"),
}


def example(param: Any, number: int) -> Any:
    """A value of a parameter, another one for each number; None for a map of hashes, each of which is one amount."""
    if param.kind is ParamKind.HASH:
        parts = {name: example(part, number) for name, part in (param.fields or {}).items() if not part.immutable}
        return {name: value for name, value in parts.items() if value is not None}
    if param.kind is ParamKind.LIST:
        return [example(param.item, number)] if param.item is not None else None
    if param.kind is ParamKind.MAP:
        return {"k": "ab"[number]} if param.values is None or param.values.kind is ParamKind.STRING else None
    values = tuple(value for value in param.enum if value) or _EXAMPLES.get(param.kind)
    return values[min(number, len(values) - 1)] if values else None


def hashes_of_the_catalog() -> list[Any]:
    catalog = read_catalog()
    return [
        pytest.param(resource, name, id=f"{resource.name}.{name}")
        for resource in map(catalog.resources.__getitem__, catalog.names())
        if resource.lifecycle.refused is None and "update" in resource.operations
        for name, param in resource.params.items()
        if param.kind is ParamKind.HASH and param.updatable and not resource.lifecycle.merges_hashes
    ]


def inner_paths(param: Any, path: tuple[str, ...] = ()) -> Any:
    """The path of every part that a field can map, at any depth."""
    for name, part in (param.fields or {}).items():
        if part.immutable:
            continue
        yield (*path, name)
        if part.kind is ParamKind.HASH:
            yield from inner_paths(part, (*path, name))


def at(value: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


@pytest.mark.parametrize(("resource", "name"), hashes_of_the_catalog())
def test_a_field_that_maps_one_part_of_a_hash_keeps_the_others(resource, name):
    param = resource.params[name]
    body, other = {name: example(param, 0)}, {name: example(param, 1)}
    for path in inner_paths(param):
        value = at(other[name], path)
        if value is None or value == at(body[name], path) or path[-1] == "type":
            continue  # of another type it is another thing
        update: Any = value
        for step in reversed((name, *path)):
            update = {step: update}
        sent = sent_with(update, body, resource)
        twins = {path[-1].removesuffix("_decimal"), f"{path[-1].removesuffix('_decimal')}_decimal"}
        for stripe in (replaced, merged):
            after = leaves(stripe(body[name], sent[name]))
            for kept, before in leaves(body[name]).items():
                is_mapped = kept[: len(path)] == path or (kept[:-1] == path[:-1] and kept[-1] in twins)
                assert is_mapped or after.get(kept) == before, (path, kept)
