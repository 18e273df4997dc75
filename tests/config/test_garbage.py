"""Whatever the YAML contains, the answer is a list of problems, never a traceback."""

import pytest
from examples import up_to
from hypothesis import given, settings
from hypothesis import strategies as st
from yaml_project import model, text_of

from dbt_stripe_sync.config.settings import parse_settings
from dbt_stripe_sync.config.sync import KEYS, parse_syncs
from dbt_stripe_sync.stripe_api.catalog import read_catalog

CATALOG = read_catalog()
WORDS = [
    *KEYS,
    *[
        "column",
        "template",
        "value",
        "sync",
        "lookup",
        "model",
        "on",
        "by",
        "as",
        "currency",
        "currency_column",
        "nulls",
    ],
    *["order_by", "fields", "customer", "email", "address", "address.city", "metadata", "metadata.x", "items", "price"],
    *["minor_units", "usd", "upsert", "clear", "[[ a ]]", "[[ a", "{{ b }}", "10%", "", ".", "a..b", "id", "m", "true"],
    *["subscription", "billing.meter_event", "customer.tax_id", "phases", "tiers", "unit_amount", "replace", "delete"],
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=8)
)
garbage = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
blocks = st.fixed_dictionaries(
    {"resource": st.sampled_from(["customer", "price", "subscription", "invoice_item", "billing.meter_event"])},
    optional={name: garbage for name in KEYS if name != "resource"},
)


@settings(max_examples=up_to(300), deadline=None)
@given(garbage | blocks | st.lists(blocks, max_size=2), garbage, garbage)
def test_no_meta_breaks_the_parser(meta, raw_meta, column):
    node = model(
        "m", {"stripe_sync": meta}, raw_meta={"stripe_sync": raw_meta}, columns={"c": {"stripe_field": column}}
    )

    parsed = parse_syncs({node.unique_id: node}, CATALOG, project="shop")

    for problem in parsed.problems:
        assert text_of(problem)


@settings(max_examples=up_to(100), deadline=None)
@given(garbage | st.dictionaries(st.sampled_from(["share_free", "live_targets", "account", "concurrency"]), garbage))
def test_no_settings_break_the_parser(raw):
    settings_read, problems = parse_settings(raw)

    assert settings_read.api_key_env
    assert all(text_of(problem) for problem in problems)


@settings(max_examples=up_to(150), deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS), garbage, min_size=1, max_size=4))
def test_no_field_breaks_the_parser(fields):
    node = model("m", {"stripe_sync": {"resource": "subscription", "key": "id", "fields": fields}})

    parse_syncs({node.unique_id: node}, CATALOG, project="shop")


@pytest.mark.parametrize("path", ["", ".", "address.", ".city", "address..city", "metadata.", "items.0.price"])
def test_a_malformed_path_is_a_problem(project, path):
    project.add("customers", f"resource: customer\nkey: id\nfields: {{{path!r}: city}}")

    assert len(project.problems()) == 1
