"""Stripe's rules on requests and existing objects that several kinds of objects share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.objects import object_value
from dbt_stripe_sync.sandbox.errors import ApiError
from dbt_stripe_sync.sandbox.family import refuse
from dbt_stripe_sync.sandbox.objects.subscription_shape import ENDED
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of
from dbt_stripe_sync.stripe_api.rules.counts import MOST_INVOICE_ITEMS, MOST_SUBSCRIPTIONS
from dbt_stripe_sync.stripe_api.rules.statuses import frozen_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

# docs.stripe.com/testing: ids of test payment methods, which work for every customer.
# A guess: `test-methods`.
_TEST_METHODS = re.compile(r"pm_(card|usBankAccount|usInternet|sepaDebit|bacs|auBecs|acss)\w*")


def check_frozen(resource: str, body: Body, names: Iterable[str]) -> None:
    """Raise `ApiError` for an update that the object's status doesn't allow."""
    for rule in frozen_rules(resource):
        status = str(object_value(body, rule.fixed.status_field))
        name = rule.first_fixed(status, names)
        if name is not None:
            raise refuse(rule.message.format(name=name, status=status), name, rule.code)


def check_set_once(resource: str, body: Body, given: Mapping[str, Any]) -> None:
    """Raise `ApiError` for a change of a value that is final once it is set."""
    for path, unset in lifecycle_of(resource).set_once.items():
        for param, held, value in _pairs(body, given, tuple(path.split(".")), ""):
            if held not in (None, unset) and value not in (None, held):
                raise refuse(f"You cannot change `{path.rpartition('.')[2]}` once it is set to `{held}`.", param)


def _pairs(held: Any, given: Any, path: tuple[str, ...], param: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the parameter's name, the object's value and the request's, for each place where a request has the path."""
    if not path:
        yield param, held, given
    elif isinstance(given, dict):
        for name in given if path[0] == "*" else {path[0]} & given.keys():
            inner = held.get(name.lower() if path[0] == "*" else name) if isinstance(held, dict) else None
            yield from _pairs(inner, given[name], path[1:], f"{param}[{name}]" if param else name)


def check_currency(work: Work, customer: str, currency: str) -> None:
    """Raise `ApiError` if the customer already uses another currency."""
    for other in _currencies_in_use(work, customer):
        if other != currency:
            raise refuse(
                "You cannot combine currencies on a single customer. This customer has an active subscription, "
                f"subscription schedule, discount, quote, or invoice item with currency {other}."
            )


# A guess: `one-currency`.
def _currencies_in_use(work: Work, customer: str) -> Iterable[str]:
    where = {"customer": customer}
    for subscription in work.find("subscription", where):
        if subscription["status"] not in ENDED:
            yield subscription["currency"]
    for schedule in work.find("subscription_schedule", where):
        if schedule["status"] == "not_started":
            yield from (phase["currency"] for phase in schedule["phases"])
    for quote in work.find("quote", where):
        if quote["status"] == "open" and quote["currency"]:
            yield quote["currency"]
    for item in work.find("invoice_item", where):
        if item["invoice"] is None:
            yield item["currency"]


def check_subscription_count(work: Work, customer: str) -> None:
    """Raise `ApiError` for one subscription too many."""
    where = {"customer": customer}
    live = sum(body["status"] not in ENDED for body in work.find("subscription", where))
    live += sum(body["status"] == "not_started" for body in work.find("subscription_schedule", where))
    if live >= MOST_SUBSCRIPTIONS:
        raise refuse(
            f"This customer has reached the limit of {MOST_SUBSCRIPTIONS} active or scheduled subscriptions.",
            "customer",
            "customer_max_subscriptions",
        )


def check_invoice_room(invoice: Body, more: int = 1) -> None:
    """Raise `ApiError` for more items than an invoice can have."""
    if len(invoice["lines"]["data"]) + more > MOST_INVOICE_ITEMS:
        raise refuse(f"An invoice can have at most {MOST_INVOICE_ITEMS} items.", "invoice")


def check_payment_method(work: Work, id_: object, customer: str | None, param: str) -> None:
    """Raise `ApiError` for a payment method that doesn't exist, or that isn't the customer's."""
    if not isinstance(id_, str) or not id_ or _TEST_METHODS.fullmatch(id_):
        return
    held = work.shown("payment_method", id_)
    if held is None:
        raise ApiError(f"No such PaymentMethod: '{id_}'", code="resource_missing", param=param)
    if customer is not None and held.get("customer") != customer:
        raise refuse(
            f"The customer does not have a payment method with the ID {id_}. The payment method must be attached to "
            "the customer.",
            param,
            "resource_missing",
        )


def check_chargeable(work: Work, subscription: Body, method: str | None, due: int) -> None:
    """Raise `ApiError` for a customer without a card, if the sandbox requires one."""
    charged = subscription["collection_method"] == "charge_automatically" and due > 0
    if work.requires_payment_methods and charged and method is None:
        raise refuse(
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method. For more information, visit "
            "https://stripe.com/docs/billing/subscriptions/payment-methods-setting#payment-method-priority.",
            None,
            "resource_missing",
        )
