"""The catalog says what the installed SDK would send, and takes what Stripe takes."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.sdk import api_version

CATALOG = read_catalog()


class SentError(Exception):
    """Ends a call where it would leave."""


class Requestor:
    def request(self, method, url, *_, **__):
        raise SentError(method, url)

    request_stream = request


def service_of(resource):
    found = stripe.StripeClient("sk_test_x").v1
    for step in resource.service.split("."):
        found = getattr(found, step)
    return found


@pytest.mark.parametrize("name", CATALOG.names())
def test_every_operation_matches_what_the_sdk_sends(name):
    resource = CATALOG.resources[name]
    service = type(service_of(resource))(Requestor())
    methods = {
        method
        for method, value in inspect.getmembers(type(service), inspect.isfunction)
        if not method.startswith("_") and not method.endswith("_async")
    }

    assert set(resource.operations) == methods
    for operation in resource.operations.values():
        ids = [f"id{index}" for index, _ in enumerate(operation.path_params)]
        with pytest.raises(SentError) as seen:
            getattr(service, operation.name)(*ids, params={})
        filled = operation.path.format(**dict(zip(operation.path_params, ids, strict=True)))
        assert seen.value.args == (operation.method, filled)


@pytest.mark.parametrize("name", CATALOG.names())
def test_every_creation_parameter_comes_from_the_sdk(name):
    resource = CATALOG.resources[name]
    service = type(service_of(resource))
    hint = str(service.create.__annotations__["params"])
    package = service.__module__.rpartition(".")[0].removeprefix("stripe")
    typed_dict = getattr(importlib.import_module(f"stripe.params{package}"), re.search(r"\w+Params", hint)[0])
    options = {"expand", *stripe.RequestOptions.__annotations__}

    params = resource.operations["create"].params

    assert set(params) == set(typed_dict.__annotations__) - options
    assert {param.name for param in params.values() if param.required} == typed_dict.__required_keys__


def test_reading_one_resource_does_not_import_the_sdk():
    code = (
        "import sys\n"
        "from dbt_stripe_sync.stripe_api.catalog import read_catalog\n"
        "assert read_catalog().resource('price').params\n"
        "assert 'stripe' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def param(resource, path):
    return CATALOG.resources[resource].param(tuple(path.split(".")))


@pytest.mark.parametrize(
    ("resource", "path", "kind"),
    [
        ("customer", "email", ParamKind.STRING),
        ("customer", "balance", ParamKind.INTEGER),
        ("customer", "address", ParamKind.HASH),
        ("customer", "address.city", ParamKind.STRING),
        ("customer", "metadata", ParamKind.MAP),
        ("customer", "metadata.anything at all", ParamKind.STRING),
        ("customer", "tax_exempt", ParamKind.ENUM),
        ("customer", "preferred_locales", ParamKind.LIST),
        ("price", "unit_amount_decimal", ParamKind.NUMBER),
        ("price", "currency_options.eur.unit_amount", ParamKind.INTEGER),
        ("price", "recurring.interval", ParamKind.ENUM),
        ("price", "active", ParamKind.BOOLEAN),
        ("coupon", "percent_off", ParamKind.NUMBER),
        ("subscription", "items", ParamKind.LIST),
        ("subscription", "items.price", ParamKind.STRING),
        ("subscription_schedule", "phases.items.quantity", ParamKind.INTEGER),
        ("billing.meter_event", "payload", ParamKind.MAP),
    ],
)
def test_a_parameter_has_the_type_that_stripe_expects(resource, path, kind):
    assert param(resource, path).kind is kind


def test_a_parameters_properties_combine_creation_and_update():
    assert param("price", "currency").required
    assert param("price", "unit_amount").immutable
    assert not param("price", "nickname").immutable
    assert param("price", "recurring.interval").required
    assert not param("price", "recurring").required
    assert param("customer", "default_source").updatable
    assert not param("customer", "default_source").creatable
    assert param("customer", "tax_exempt").enum == ("exempt", "none", "reverse")
    assert param("price", "tiers.up_to").enum == ("inf",)
    assert param("subscription", "trial_end").enum == ("now",)


@pytest.mark.parametrize(
    ("resource", "path", "clearable"),
    [
        ("customer", "address", True),
        ("customer", "email", True),
        ("customer", "metadata", True),
        ("customer", "tax_exempt", True),
        ("customer", "balance", False),
        ("price", "nickname", True),
        ("price", "tax_behavior", False),
        ("price", "unit_amount", False),
        ("price", "product", False),
        ("product", "name", False),
        ("product", "description", True),
        ("subscription", "default_tax_rates", True),
        ("subscription", "cancel_at", True),
    ],
)
def test_parameters_that_an_update_can_clear_are_known(resource, path, clearable):
    assert param(resource, path).clearable is clearable


def test_a_parameter_that_changes_its_type_after_creation_is_fixed():
    assert param("subscription", "billing_cycle_anchor").immutable


def test_parents_in_the_url_are_parameters():
    customer = param("customer.tax_id", "customer")

    assert (customer.in_path, customer.required, customer.immutable) == (True, True, True)


def test_a_resource_without_updates_is_immutable():
    params = CATALOG.resources["billing.meter_event"].params

    assert all(param.immutable for param in params.values())


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("customers", "customer"),
        ("invoiceitem", "invoice_item"),
        ("Subscription Items", "subscription_item"),
        ("customer_balance_transaction", "customer.balance_transaction"),
        ("billing.meter_events", "billing.meter_event"),
        ("tax_ids", "tax_id"),
    ],
)
def test_a_resource_is_found_by_other_spellings(spelling, name):
    assert CATALOG.resource(spelling).name == name


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("custmer", "customer"),
        ("meter_event", "billing.meter_event"),
        ("promotioncodes", "promotion_code"),
        ("zzz", None),
    ],
)
def test_a_misspelled_name_gets_a_suggestion(wrong, meant):
    assert CATALOG.suggest(wrong) == meant


@given(st.text(max_size=30))
def test_no_name_breaks_the_catalog(name):
    found = CATALOG.resource(name)

    assert found is None or found.name in CATALOG.names()
    assert CATALOG.suggest(name) in {None, *CATALOG.names()}


def test_every_parameter_can_be_described():
    assert "metered" in param("price", "billing_scheme").description
    assert param("customer", "address.city").description.startswith("City")


def test_the_api_version_is_the_sdks():
    assert api_version() == stripe.api_version
