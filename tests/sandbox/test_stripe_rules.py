"""Each of Stripe's documented rules is kept by the sandbox, and known without it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from rule_examples import NOW, example_request, form

from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.rules.billing import OptionAmounts
from dbt_stripe_sync.stripe_api.rules.catalogue import rules_of
from dbt_stripe_sync.stripe_api.rules.checking import check_rules
from dbt_stripe_sync.stripe_api.rules.rule import LIST, UPDATE, WRITES
from dbt_stripe_sync.stripe_api.rules.shapes import WithoutOwnCurrency
from dbt_stripe_sync.stripe_api.rules.together import NotBeside

CATALOG = read_catalog()
OPERATIONS = tuple(
    (name, operation)
    for name in CATALOG.names()
    for operation in (*sorted(WRITES), LIST)
    if operation in CATALOG.resources[name].operations
)


@pytest.fixture(scope="module")
def served():
    with Sandbox() as sandbox:
        yield sandbox


def answer(sandbox, operation, params):
    path = operation.path
    for name in operation.path_params:
        path = path.replace(f"{{{name}}}", "none_1")
    url, data = sandbox.url + path, form(params)
    is_post = operation.method.upper() == "POST"
    request = urllib.request.Request(  # noqa: S310 - loopback
        url if is_post else f"{url}?{data}",
        data.encode() if is_post else None,
        headers={"Authorization": f"Bearer {sandbox.api_key}"},
    )
    try:
        with urllib.request.urlopen(request) as response:  # noqa: S310 - loopback
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


@pytest.mark.parametrize(("resource", "operation"), OPERATIONS)
def test_the_sandbox_refuses_what_a_rule_forbids(served, resource, operation):
    described = CATALOG.resources[resource].operations[operation]
    for rule in rules_of(resource, operation):
        if isinstance(rule.check, WithoutOwnCurrency | NotBeside | OptionAmounts) and operation == UPDATE:
            continue  # what its object has decides; see the tests after this one
        _, good, bad = example_request(resource, operation, rule)
        broken = [
            violation.message
            for violation in check_rules(resource, operation, bad, now=NOW, whole=True, guesses=True)
            if violation.source == rule.source
        ]
        kept = {v.message for v in check_rules(resource, operation, good, now=NOW, whole=True, guesses=True)}
        new = [message for message in broken if message not in kept]
        assert new, f"{rule.path}: {rule.check.says}"
        status, body = answer(served, described, bad)
        assert (status, body["error"]["message"]) == (400, new[0]), f"{rule.path}: {body}"
        if rule.path:
            assert body["error"]["param"].split("[")[0] == rule.path.split(".")[0].removesuffix("[]")


@pytest.mark.parametrize("own", ["currency", "restrictions.minimum_amount_currency"])
def test_the_own_currency_of_what_is_there_is_known(own):
    name = {"currency": "price"}.get(own, "promotion_code")
    options, known = {"currency_options": {"usd": {"unit_amount": 5}}}, {"currency": "usd"}
    if name == "promotion_code":
        options = {"restrictions": {"currency_options": {"usd": {"minimum_amount": 5}}}}
        known = {"restrictions": {"minimum_amount_currency": "usd"}}
    assert [v.path[-1] for v in check_rules(name, "update", options, known=known)] == ["usd"]
    assert not list(check_rules(name, "update", options))


@pytest.mark.parametrize(
    ("scheme", "option", "said"),
    [
        ("tiered", {"unit_amount": 5}, "`billing_scheme=tiered`"),
        ("per_unit", {"tiers": [{"up_to": "inf", "unit_amount": 5}]}, "`billing_scheme=per_unit`"),
        ("per_unit", {"tax_behavior": "exclusive"}, "either `unit_amount`"),
        ("tiered", {"tax_behavior": "exclusive"}, "Missing required param: tiers"),
    ],
)
def test_the_amounts_in_other_currencies_are_of_the_prices_scheme(scheme, option, said):
    known = {"billing_scheme": scheme, "currency_options": {"usd": {}}}
    (broken,) = check_rules("price", "update", {"currency_options": {"eur": option}}, known=known)
    assert said in broken.message
    was_there = {**known, "currency_options": {"usd": {}, "eur": {}}}
    kept = check_rules("price", "update", {"currency_options": {"eur": {"tax_behavior": "exclusive"}}}, known=was_there)
    assert not list(kept)


def test_what_an_object_has_beside_a_parameter_is_known():
    options = {"currency_options": {"eur": {"amount_off": 5}}}
    assert [v.path for v in check_rules("coupon", "update", options, known={"percent_off": 10})] == [
        ("currency_options",)
    ]
    assert not list(check_rules("coupon", "update", options, known={"amount_off": 10}))


def test_a_plan_foresees_no_guess_and_no_time_unless_it_says_when():
    late = {"cancel_at": NOW - 1, "billing_cycle_anchor": NOW - 1, "customer": "cus_1", "items": [{"price": "price_1"}]}
    assert not list(check_rules("subscription", "create", late))
    assert [v.path for v in check_rules("subscription", "create", late, now=NOW)] == [("billing_cycle_anchor",)]
    both = check_rules("subscription", "create", late, now=NOW, guesses=True)
    assert {v.path for v in both} == {("billing_cycle_anchor",), ("cancel_at",)}


def test_no_violation_tells_a_value():
    secret = "topsecret"
    params = {"name": secret * 40, "phone": secret * 4, "metadata": {"note": secret * 80}, "email": secret}
    found = list(check_rules("customer", "create", params))
    assert {v.path[0] for v in found} == {"name", "phone", "metadata"}
    assert all(secret not in f"{v.reason}{v.hint}" for v in found)
