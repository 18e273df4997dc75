"""Lifecycles are data, and the data fits the API."""

import pytest

from dbt_stripe_sync.model.lifecycle import ByStatus, Mode, NotReplaced, Removal, Replace
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of, read_catalog
from dbt_stripe_sync.stripe_api.lifecycles import LIFECYCLES
from dbt_stripe_sync.stripe_api.refusals import REFUSED

CATALOG = read_catalog()


def steps_of(rule):
    return list(rule.steps.values()) if isinstance(rule, ByStatus) else [rule]


@pytest.mark.parametrize("name", CATALOG.names())
def test_every_lifecycle_uses_only_existing_parts_of_the_api(name):
    resource, lifecycle = CATALOG.resources[name], lifecycle_of(name)

    for step in [step for rule in lifecycle.on_removed.values() for step in steps_of(rule)]:
        operation = resource.operation(step.operation)
        assert operation is not None, step
        assert step.params.keys() <= operation.params.keys()
        if step.revive is not None:
            assert step.revive.keys() <= resource.operation("update").params.keys()
            assert step.revive.keys() == step.params.keys()
            assert not step.gone
    if lifecycle.tagged:
        assert "metadata" in resource.operation("create").params
    if Mode.UPDATE in lifecycle.modes:
        assert resource.operation("update") is not None
    if lifecycle.own_id:
        assert "id" in resource.operation("create").params
    assert lifecycle.permanent <= lifecycle.on_removed.keys()
    if lifecycle.listed:
        listing = resource.operation("list")
        assert listing is not None or lifecycle.refused is not None
        assert listing is None or not listing.path_params


@pytest.mark.parametrize("name", CATALOG.names())
def test_every_way_to_replace_an_object_is_supported(name):
    lifecycle = lifecycle_of(name)
    rule = lifecycle.when_immutable_changes

    for replacement in (rule, lifecycle.replace_if_asked):
        if isinstance(replacement, Replace):
            assert replacement.then in lifecycle.on_removed
    if isinstance(rule, Replace):
        assert rule.carry_over.keys() <= CATALOG.resources[name].operation("create").params.keys()
        assert set(rule.exclusive) <= CATALOG.resources[name].params.keys()
    else:
        assert isinstance(rule, NotReplaced)
        assert rule.reason


def test_every_lifecycle_is_for_an_existing_resource():
    assert set(LIFECYCLES) <= set(CATALOG.names())
    assert set(REFUSED) <= set(CATALOG.names())
    assert not set(LIFECYCLES) & set(REFUSED)


@pytest.mark.parametrize(
    ("name", "removals"),
    [
        ("customer", {Removal.DELETE}),
        ("product", {Removal.ARCHIVE, Removal.DELETE}),
        ("price", {Removal.ARCHIVE}),
        ("subscription", {Removal.CANCEL, Removal.CANCEL_AT_PERIOD_END}),
        ("invoice", {Removal.DELETE, Removal.VOID}),
        ("invoice_item", {Removal.DELETE}),
        ("quote", {Removal.CANCEL}),
        ("coupon", {Removal.DELETE}),
        ("promotion_code", {Removal.ARCHIVE}),
        ("tax_rate", {Removal.ARCHIVE}),
        ("credit_note", {Removal.VOID}),
        ("payment_link", {Removal.ARCHIVE}),
        ("billing.meter_event", set()),
        ("terminal.location", {Removal.DELETE}),
        ("billing_portal.configuration", {Removal.ARCHIVE}),
    ],
)
def test_an_object_is_removed_as_stripe_allows(name, removals):
    assert set(lifecycle_of(name).on_removed) == removals


def test_a_replaced_price_transfers_its_lookup_key():
    assert lifecycle_of("price").when_immutable_changes == Replace(
        carry_over={"transfer_lookup_key": True},
        gives_up=("lookup_key",),
        takes_over={"product_data": "product"},
    )


def test_only_a_draft_invoice_is_deleted():
    rule = lifecycle_of("invoice").on_removed[Removal.DELETE]

    assert isinstance(rule, ByStatus)
    assert set(rule.steps) == {"draft"}


@pytest.mark.parametrize(
    "name", ["payout", "transfer", "refund", "charge", "checkout.session", "account_link", "token"]
)
def test_payments_transfers_and_tokens_are_rejected_with_a_reason(name):
    assert lifecycle_of(name).refused


def test_a_resource_without_updates_has_no_update_mode():
    assert lifecycle_of("billing.meter_event").modes == {Mode.INSERT}
    assert lifecycle_of("customer.tax_id").modes == {Mode.INSERT, Mode.UPSERT}


def test_an_unknown_resource_has_no_lifecycle():
    with pytest.raises(KeyError):
        lifecycle_of("custmer")
