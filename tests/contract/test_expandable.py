"""Whatever Stripe's OpenAPI specification calls expandable, the local Stripe expands."""

from __future__ import annotations

import json

import pytest
from stripe_specification import install

from dbt_stripe_sync.stripe_api.sdk_expandable import can_expand
from dbt_stripe_sync.stripe_api.sdk_shapes import OBJECT_CLASSES

pytestmark = [pytest.mark.contract, pytest.mark.xdist_group("contract")]


def test_every_expandable_property_of_the_specification_can_be_expanded(tmp_path_factory):
    _, path = install(tmp_path_factory.mktemp("stripe"))
    schemas = json.loads(path.read_text())["components"]["schemas"].values()
    named = {
        (name, field)
        for schema in schemas
        for name in schema.get("properties", {}).get("object", {}).get("enum", ())
        for field in schema.get("x-expandableFields", ())
        if name in OBJECT_CLASSES
    }
    assert len(named) > 500
    assert not {(name, field) for name, field in named if not can_expand(name, (field,))}
