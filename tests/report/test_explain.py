"""What Stripe's failures mean, and what must not be shown of them."""

from __future__ import annotations

import re
import typing
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import email_failure, make_change, make_outcome

from dbt_stripe_sync.model.calls import StripeFailure
from dbt_stripe_sync.model.change import Action, Ref
from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.report.error_codes import (
    BY_CODE,
    BY_MESSAGE,
    BY_STATUS,
    BY_TYPE,
    MISSING_BY_PARAM,
    OWN_IS_MISSING,
    SERVER,
    UNEXPLAINED,
)
from dbt_stripe_sync.report.explain import explain, explain_outcome, fill_in, param_path
from dbt_stripe_sync.report.json_values import json_failure, message_of
from dbt_stripe_sync.report.lines import plain
from dbt_stripe_sync.report.redact import describe_values, hide_secrets, hide_values


def sdk_codes() -> set[str]:
    """The codes that Stripe's own SDK knows."""
    import inspect

    from stripe import _invoice
    from stripe.events import _v1_billing_meter_error_report_triggered_event as of_events

    sources = inspect.getsource(_invoice) + inspect.getsource(of_events)
    return set(re.findall(r'^\s+"([a-z0-9_]+)",$', sources, re.MULTILINE))


def test_every_explained_code_exists_in_stripe():
    assert not set(BY_CODE) - sdk_codes()


def test_every_explanation_is_a_phrase_whose_names_can_be_filled_in():
    for explanation in chain(BY_CODE.values(), BY_TYPE.values(), BY_STATUS.values(), (SERVER, UNEXPLAINED)):
        for text in (explanation.meaning, explanation.hint):
            filled = fill_in(text, email_failure(), make_change("1"))
            assert "{" not in filled
            assert not filled.endswith(".")
            assert filled.count("`") % 2 == 0


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (email_failure(), BY_CODE["email_invalid"]),
        (email_failure(code="never_heard_of"), UNEXPLAINED),
        (StripeFailure(type="permission", status=403), BY_TYPE["permission"]),
        (StripeFailure(type="invalid_request_error", status=401), BY_STATUS[401]),
        (StripeFailure(type="api_error", status=503), SERVER),
        (StripeFailure(type="connection"), BY_TYPE["connection"]),
        (StripeFailure(type="x"), UNEXPLAINED),
    ],
)
def test_a_failure_is_explained_by_its_code_then_its_type_then_its_status(failure, expected):
    assert explain(failure) is expected


def test_a_hint_names_the_sync_and_the_field():
    failure = StripeFailure(type="invalid_request_error", code="parameter_missing", param="items[0][price]")

    assert fill_in(explain(failure).hint, failure, make_change("1", sync="subs")).startswith(
        "map it under `fields:` of `subs`"
    )
    assert "`items.0.price`" in fill_in(explain(failure).meaning, failure, make_change("1"))
    assert param_path("items[][price]") == "items.price"


@pytest.mark.parametrize(
    ("message", "params", "shown"),
    [
        ("Invalid email address: Jo@X.com", {"email": "jo@x.com"}, "Invalid email address: …"),
        ("No such coupon: 'SPRING'", {"coupon": "SPRING"}, "No such coupon: '…'"),
        ("No such customer: 'cus_Nf3KAbCdEfGh12'", {"customer": "cus_Nf3KAbCdEfGh12"}, None),
        ("You sent 17 for quantity", {"items": [{"quantity": 17}]}, "You sent … for quantity"),
        ("Received unknown parameter: nam", {"nam": "x"}, None),
        ("Invalid API Key provided: sk_test_****1234", {}, "Invalid API Key provided: sk_…"),
        ("is de in Germany inside", {"country": "de"}, "is … in Germany inside"),
        ("a tier 'a' is not a tier", {"tier": "a"}, "a tier '…' is not a tier"),
        ("regex (.*) here", {"name": "(.*)"}, "regex … here"),
        ("ref", {"customer": Ref(sync="a", key="ref")}, None),
    ],
)
def test_a_message_repeats_nothing_of_the_row(message, params, shown):
    assert hide_values(message, params) == (shown or message)


@given(st.text(min_size=4, max_size=30).filter(lambda text: text.strip() == text and len(text.strip()) >= 4))
def test_quoted_text_of_a_row_is_removed(value):
    shown = hide_values(f"Invalid value: '{value}'", {"name": value})

    assert shown == "Invalid value: '…'" or value not in shown


def test_secrets_are_hidden_wherever_they_occur():
    assert hide_secrets(
        {"a": ["rk_live_abcd1234"], "client_secret": "x", "number": "INV-1", "card": {"number": 1}}
    ) == {
        "a": ["rk_…"],
        "client_secret": "(hidden)",
        "number": "INV-1",
        "card": {"number": "(hidden)"},
    }
    assert hide_secrets("pi_1_secret_abcDEF") == "pi_1_secret_…"


def test_the_shape_of_what_was_sent_shows_without_its_values():
    params = {"name": "Zoë", "active": True, "items": [{"quantity": 2}], "phone": "", "customer": "cus_Nf3KAbCdEfGh12"}

    assert describe_values(params) == {
        "name": "(text)",
        "active": "(true or false)",
        "items": [{"quantity": "(number)"}],
        "phone": "",
        "customer": "cus_Nf3KAbCdEfGh12",
    }


def test_codes_are_checked_against_the_sdk():
    assert {"resource_missing", "lock_timeout"} <= sdk_codes()
    assert typing.TYPE_CHECKING is False


@pytest.mark.parametrize(
    ("failure", "meaning", "hint"),
    [
        (
            {
                "code": "resource_missing",
                "message": "This customer has no attached payment source or default payment method. Please consider "
                "adding a default payment method.",
            },
            "has no payment method",
            "days_until_due",
        ),
        (
            {
                "code": "resource_missing",
                "param": "default_payment_method",
                "message": "No such PaymentMethod: 'pm_1'; It's possible this PaymentMethod exists on one of your "
                "connected accounts",
            },
            "not this customer's",
            "attached to the same customer",
        ),
        (
            {"code": "resource_missing", "param": "items[0][price]", "message": "No such price: 'x'"},
            "no such price",
            "price_",
        ),
        (
            {
                "code": "resource_missing",
                "param": "customer",
                "message": "No such customer: 'cus_1'; a similar object exists in live mode, but a test mode key was "
                "used to make this request.",
            },
            "other mode",
            "use a key of the mode",
        ),
        (
            {"message": "You cannot combine currencies on a single customer. This customer has an active subscription"},
            "another currency",
            "a separate customer",
        ),
        (
            {"code": "resource_missing", "param": "id", "message": "No such customer: 'cus_1'"},
            "in this account",
            "forget",
        ),
    ],
)
def test_one_code_that_means_several_things_is_distinguished(failure, meaning, hint):
    found = explain(StripeFailure(type="invalid_request_error", status=400, **failure))
    assert meaning in found.meaning
    assert hint in found.hint


@pytest.mark.parametrize(
    ("resource", "stripe_id", "param", "message", "meaning"),
    [
        # Stripe names an object of a URL by its kind as well as by `id`.
        ("price", "price_1", "price", "No such price: 'price_1'", OWN_IS_MISSING.meaning),
        ("coupon", "SPRING", "coupon", "No such coupon: 'SPRING'", OWN_IS_MISSING.meaning),
        ("customer", "cus_1", "id", "No such customer: 'cus_1'", OWN_IS_MISSING.meaning),
        # What another parameter names is not the row's own, and an id that begins like it neither.
        ("subscription", "sub_1", "items[0][price]", "No such price: 'price_1'", MISSING_BY_PARAM["price"].meaning),
        ("coupon", "SPRING", "coupon", "No such coupon: 'SPRING-2'", MISSING_BY_PARAM["coupon"].meaning),
    ],
)
def test_a_rows_own_missing_object_is_distinguished_from_one_that_it_references(
    resource, stripe_id, param, message, meaning
):
    failure = StripeFailure(
        type="invalid_request_error", status=404, code="resource_missing", param=param, message=message
    )
    change = make_change("1", resource=resource, stripe_id=stripe_id, action=Action.UPDATE)

    explained = explain_outcome(make_outcome(change, Status.REJECTED, failure=failure))

    assert explained.meaning == meaning


# Each as Stripe says it: type and status, code, parameter, message; then what a person reads of it.
BAD, CARD = ("invalid_request_error", 400), ("card_error", 402)
AS_STRIPE_SAYS_IT = [
    (BAD, "resource_missing", "id", "No such customer: 'cus_1'", "in this account and mode", "state forget"),
    (
        BAD,
        "resource_missing",
        "default_payment_method",
        "No such PaymentMethod: 'pm_1'",
        "not this customer's",
        "leave `default_payment_method` out of `customers`",
    ),
    (
        BAD,
        "resource_missing",
        "discounts[0][promotion_code]",
        "No such promotion code: 'SALE'",
        "no such promotion code",
        "begins with `promo_`",
    ),
    (
        BAD,
        "parameter_missing",
        "shipping[name]",
        "Missing required param: shipping[name].",
        "Stripe needs `shipping.name`",
        "map it under `fields:` of `customers`",
    ),
    (BAD, "parameter_unknown", "nick", "Received unknown parameter: nick", "doesn't know `nick`", "fields customer"),
    (BAD, "parameter_invalid_integer", "balance", "Invalid integer: 9175.2", "whole number", "as: minor_units"),
    (
        BAD,
        "parameter_invalid_empty",
        "shipping",
        "You passed an empty string for 'shipping'. […] however 'shipping' cannot be unset.",
        "can't clear `shipping` of this customer",
        "nulls: ignore",
    ),
    (BAD, "parameter_invalid_string_empty", "name", "Invalid string", "`name` is an empty text", "nullif"),
    (
        BAD,
        "parameters_exclusive",
        None,
        "You may only specify one of these parameters: percent_off, amount_off.",
        "accepts only one",
        "map one of them",
    ),
    (BAD, "email_invalid", "email", "Invalid email address: ann@", "not valid", "make it null"),
    (BAD, "url_invalid", "url", "Not a valid URL", "not a valid URL", "https://"),
    (BAD, "resource_already_exists", "id", "Product already exists.", "already exists", "match: [id]"),
    (
        BAD,
        None,
        "lookup_key",
        "A price (`price_1`) already uses that lookup key.",
        "another price has this lookup key",
        "match: [lookup_key]",
    ),
    (BAD, "invoice_not_editable", None, "This invoice is no longer editable", "finalized", "credit note"),
    (BAD, "coupon_expired", "coupon", "This coupon has expired.", "expired or is used up", "discount's column null"),
    (BAD, "amount_too_small", "amount", "Amount must be at least $0.50 usd", "below Stripe's minimum", "minor_units"),
    (BAD, "tax_id_invalid", "value", "Invalid value for eu_vat.", "the format of its type", "`type` and `value`"),
    (
        BAD,
        "customer_tax_location_invalid",
        None,
        "The customer's location isn't recognized. Set a valid customer address […]",
        "not precise enough for tax",
        "address.country",
    ),
    (CARD, "card_declined", None, "Your card was declined.", "bank declined", "payment_behavior"),
    (
        CARD,
        "authentication_required",
        None,
        "Your card was declined. This transaction requires authentication.",
        "confirm the payment",
        "default_incomplete",
    ),
    (
        ("invalid_request_error", 429),
        "lock_timeout",
        None,
        "This object cannot be accessed right now because another API request […] is currently accessing it.",
        "another request was writing the same object",
        "retry",
    ),
    (
        ("invalid_request_error", 429),
        "rate_limit",
        None,
        "Request rate limit exceeded.",
        "too many requests",
        "share_free",
    ),
    (
        ("idempotency_error", 409),
        "idempotency_key_in_use",
        None,
        "There is currently another in-progress request using this Idempotent Key.",
        "still processing",
        "retry",
    ),
    (
        ("permission", 403),
        None,
        None,
        "The provided key […] Having the 'rak_customer_write' permission would allow this request to continue.",
        "the key lacks permission for this",
        "`rak_customer_write` at https://dashboard.stripe.com/apikeys",
    ),
    (("invalid_request_error", 401), "api_key_expired", None, "Expired API Key provided", "expired", "STRIPE_API_KEY"),
]


@pytest.mark.parametrize(("kind", "code", "param", "message", "meaning", "hint"), AS_STRIPE_SAYS_IT)
def test_the_most_common_rejections_are_explained(kind, code, param, message, meaning, hint):
    failure = StripeFailure(type=kind[0], status=kind[1], code=code, param=param, message=message)

    found = explain(failure)

    change = make_change("1")
    assert meaning in fill_in(found.meaning, failure, change)
    assert hint in fill_in(found.hint, failure, change)


OURS = ("the connection was cut", "no answer in time", "it is not JSON", "it redirects (302), which Stripe never does")
WORD = st.sampled_from(sorted({word.strip("(),") for text in OURS for word in text.split()}))
ODD = st.one_of(WORD, st.text(max_size=20), st.integers(), st.booleans(), st.none())


@given(st.sampled_from(OURS), st.sampled_from(["connection", "not_stripe", "redirect"]), st.dictionaries(WORD, ODD))
def test_no_row_value_hides_a_word_of_the_programs_own_sentences(text, kind, params):
    failure = StripeFailure(type=kind, status=None if kind == "connection" else 302, message=text)
    change = make_change("1", params=params)

    assert message_of(failure, change, with_values=False) == text
    assert json_failure(failure, change, with_values=False)["message"] == text


EXPLANATIONS = [
    text
    for explanation in chain(
        BY_CODE.values(), BY_TYPE.values(), BY_STATUS.values(), BY_MESSAGE.values(), (SERVER, UNEXPLAINED)
    )
    for text in (explanation.meaning, explanation.hint)
]


@given(st.sampled_from(EXPLANATIONS), st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_an_explanation_keeps_its_words_whatever_names_it_contains(text, sync, field):
    filled = fill_in(text, StripeFailure(type="x", param=field or None), make_change("1", sync=sync))
    shown = plain(filled)

    for part in re.split(r"\{\w+\}", text):
        for word in part.split():
            assert word in shown, (word, shown)


@pytest.mark.parametrize("name", ["dim_secret_santa", "my_secret_table2", "stg_secret_scores"])
def test_the_name_of_a_model_is_not_mistaken_for_a_client_secret(name):
    assert hide_secrets(f"`{name}` is not in the warehouse") == f"`{name}` is not in the warehouse"


def test_a_currency_in_a_message_says_what_to_do():
    message = "The invoice is in usd, the item in eur."

    assert hide_values(message, {"currency": "eur", "description": "usd"}) == "The invoice is in …, the item in eur."
