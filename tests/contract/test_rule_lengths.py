"""The lengths of texts are those of Stripe's OpenAPI specification, of every resource that can be synced."""

from __future__ import annotations

import json
import re

import pytest
from stripe_specification import install

from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.rules.catalog import rules_of
from dbt_stripe_sync.stripe_api.rules.lengths import DEFAULT, LENGTHS
from dbt_stripe_sync.stripe_api.rules.rule import WRITES
from dbt_stripe_sync.stripe_api.rules.texts import MaxCharacters

pytestmark = [pytest.mark.contract, pytest.mark.xdist_group("contract")]

CATALOG = read_catalog()
# What the SDK's descriptions say otherwise than the specification, which is older.
NEWER = {("payment_link", "custom_fields[].label.custom")}
# Another length at creation than in updates: the longer one is ours.
TWO_LENGTHS = {("terminal.location", "configuration_overrides")}
SYNCED = [name for name in CATALOG.names() if CATALOG.resources[name].lifecycle.refused is None]


@pytest.fixture(scope="module")
def specification(tmp_path_factory):
    _, path = install(tmp_path_factory.mktemp("stripe"))
    found = json.loads(path.read_text())["paths"]
    return {re.sub(r"\{[^}]*\}", "{}", url): operations for url, operations in found.items()}


def lengths_of(schema, path=""):
    """Every `maxLength` below a schema that is not the usual one, by our way to write a path."""
    if schema.get("maxLength") not in (None, 0, DEFAULT):
        yield path, schema["maxLength"]
    for choice in schema.get("anyOf", []):
        yield from lengths_of(choice, path)
    if "items" in schema:
        yield from lengths_of(schema["items"], f"{path}[]")
    for name, inner in schema.get("properties", {}).items():
        yield from lengths_of(inner, f"{path}.{name}" if path else name)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from lengths_of(schema["additionalProperties"], f"{path}.*")


@pytest.mark.parametrize("name", SYNCED)
def test_lengths_match_the_specification(specification, name):
    resource = CATALOG.resources[name]
    for operation in sorted(WRITES & resource.operations.keys()):
        described = resource.operations[operation]
        found = specification.get(re.sub(r"\{[^}]*\}", "{}", described.path))
        if found is None:
            continue  # a newer resource than the specification's
        content = found["post"].get("requestBody", {}).get("content", {})
        said = {path: most for body in content.values() for path, most in lengths_of(body["schema"])}
        rules = rules_of(resource, operation)
        ours = {rule.path: rule.check.most for rule in rules if isinstance(rule.check, MaxCharacters)}
        differing = {
            path: (most, ours[path])
            for path, most in said.items()
            if path in ours and ours[path] != most and (name, path) not in NEWER | TWO_LENGTHS
        }
        assert not differing, f"{name}.{operation}: the specification's, ours"
        invented = {path for path in LENGTHS.get(name, {}) if path in ours} - said.keys()
        assert not invented, f"{name}.{operation}: the specification does not say these"
