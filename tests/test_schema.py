"""The JSON Schema that editors complete and check a dbt schema.yml with."""

from __future__ import annotations

import json

import pytest
from business import SAMPLE, run_cli
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from dbt_stripe_sync.config.schema import build_schema
from dbt_stripe_sync.config.sync import KEYS
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of, read_catalog

MOST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def schema():
    return build_schema(read_catalog())


@pytest.fixture(scope="module")
def errors(schema):
    """What is wrong with a model's sync."""
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema)

    def find(sync, where="config"):
        meta = {"stripe_sync": sync}
        model = {"name": "people", "config": {"meta": meta}} if where == "config" else {"name": "people", "meta": meta}
        return [error.message for error in validator.iter_errors({"version": 2, "models": [model]})]

    return find


def customer(**changes):
    return {"resource": "customer", "key": "id", "fields": {"email": "email"}, **changes}


def test_the_sample_project_is_valid(schema):
    text = (SAMPLE / "models" / "stripe" / "schema.yml").read_text()

    assert list(Draft7Validator(schema).iter_errors(YAML(typ="safe", pure=True).load(text))) == []


@pytest.mark.parametrize(
    "sync",
    [
        customer(),
        [customer(name="one"), customer(name="two")],
        customer(key=["id", "region"], match=["email"], mode="insert", on_removed="delete", nulls="clear"),
        customer(limits={"max_removed": "10%", "max_changes": 500}, after="others", enabled=False),
        customer(fields={"address.city": "city", "metadata.any.thing": "x", "metadata": {"a": "b"}}),
        customer(fields={"address": {"city": "city", "line1": {"column": "street", "nulls": "ignore"}}}),
        customer(fields={"balance": {"column": "credit", "as": "minor_units", "currency": "usd"}}),
        customer(fields={"tax_exempt": {"value": "none"}, "name": {"template": "[[ a ]] [[ b ]]"}}),
        customer(fields={"preferred_locales": ["language"], "email": {"column": "mail"}}),
        {
            "resource": "subscription",
            "key": "id",
            "fields": {
                "customer": {"sync": "people", "key": "person"},
                "items": {"model": "lines", "on": "sub", "fields": {"price": {"sync": "prices", "key": "p"}}},
            },
        },
        {
            "resource": "subscription",
            "key": "id",
            "fields": {
                "customer": {"lookup": "customer", "by": "email", "column": "mail"},
                "items": [{"price": "price_id", "quantity": "seats"}],
            },
        },
        {"resource": "customers", "key": "id", "fields": {"email": "email"}},
        {"resource": "billing.meter_event", "key": "id", "fields": {"event_name": "x"}, "options": {"stream": True}},
    ],
)
def test_valid_yaml_passes(errors, sync):
    assert errors(sync) == []
    assert errors(sync, where="meta") == []


@pytest.mark.parametrize(
    "sync",
    [
        {"key": "id"},
        {"resource": "customer"},
        customer(fields={"emial": "email"}),
        customer(fields={"address.citty": "city"}),
        customer(fields={"address": {"citty": "city"}}),
        customer(fields={"tax_exempt": {"value": "nonsense"}}),
        customer(fields={"email": {"colum": "email"}}),
        customer(fields={"email": {"column": "email", "as": "cents"}}),
        customer(fields={"email": 5}),
        customer(mode="replace"),
        customer(on_removed="archive"),
        customer(limits={"max_removd": 5}),
        customer(limits={"max_removed": "ten"}),
        customer(nulls="keep"),
        customer(feilds={}),
        [customer()],
        {"resource": "billing.meter_event", "key": "id", "mode": "upsert", "fields": {"event_name": "x"}},
        {"resource": "billing.meter_event", "key": "id", "fields": {"event_name": "x"}, "options": {"stream": "yes"}},
        customer(options={"stream": True}),
    ],
)
def test_invalid_yaml_fails_the_schema(errors, sync):
    assert errors(sync)


def test_dbts_own_properties_are_left_to_dbt(schema):
    document = {"version": 2, "anything": 1, "models": [{"name": "x", "config": {"meta": {"owner": 1}, "tags": 5}}]}

    assert list(Draft7Validator(schema).iter_errors(document)) == []


def test_every_resource_that_can_be_synced_is_known_with_every_parameter_and_its_description(schema):
    catalog = read_catalog()
    parts = schema["definitions"]
    for name in catalog.names():
        resource = catalog.resource(name)
        if lifecycle_of(name).refused is not None:
            assert f"fields of {name}" not in parts
            continue
        fields = parts[f"fields of {name}"]["properties"]
        assert set(resource.params) <= set(fields)
        for param in resource.params.values():
            assert param.description in fields[param.name].get("description", "")


def test_every_setting_of_a_sync_is_known(schema):
    assert set(schema["definitions"]["sync"]["properties"]) == set(KEYS)


def test_the_schema_file_has_a_reasonable_size(tmp_path):
    file = tmp_path / "editors" / "schema.json"

    ran = run_cli("schema", "--out", str(file))

    assert ran.exit_code == 0
    assert f"# yaml-language-server: $schema={file}" in ran.out
    assert json.loads(file.read_text())["$schema"].startswith("http://json-schema.org/draft-07")
    assert file.stat().st_size < MOST_BYTES
