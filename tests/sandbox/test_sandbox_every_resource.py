"""Every resource of the catalog can be created with what it requires, and no operation makes the sandbox fail."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request

import pytest

from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.sandbox.objects import FAMILIES
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.sdk_shapes import blank_of

CATALOG = read_catalog()
PLAIN = {
    ParamKind.STRING: "x",
    ParamKind.INTEGER: "1",
    ParamKind.NUMBER: "1",
    ParamKind.BOOLEAN: "true",
    ParamKind.ANY: "x",
}


def smallest(param, prefix):
    """The form pairs of one parameter with nothing that is not required."""
    if param.enum:
        return [(prefix, param.enum[0])]
    if param.kind is ParamKind.HASH:
        fields = param.fields or {}
        required = [p for p in fields.values() if p.required] or list(fields.values())[:1]
        return [pair for p in required for pair in smallest(p, f"{prefix}[{p.name}]")]
    if param.kind is ParamKind.LIST:
        return smallest(param.item, f"{prefix}[0]")
    if param.kind is ParamKind.MAP:
        return [(f"{prefix}[a]", "x")]
    return [(prefix, PLAIN.get(param.kind, "x"))]


def largest(param, prefix, depth=0):
    """The form pairs of one parameter with everything that is below it."""
    if param.kind is ParamKind.HASH and depth < 3:
        return [pair for p in (param.fields or {}).values() for pair in largest(p, f"{prefix}[{p.name}]", depth + 1)]
    if param.kind is ParamKind.LIST and depth < 3:
        return largest(param.item, f"{prefix}[0]", depth + 1)
    return smallest(param, prefix)


@pytest.fixture(scope="module")
def served():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.mark.parametrize("build", [smallest, largest])
@pytest.mark.parametrize("name", CATALOG.names())
def test_no_operation_fails_with_an_internal_error(served, name, build):
    for operation in CATALOG.resources[name].operations.values():
        params = [p for p in operation.params.values() if p.required or build is largest]
        pairs = [pair for p in params if p.name not in operation.path_params for pair in build(p, p.name)]
        form = urllib.parse.urlencode(pairs)
        url = served.url + re.sub(r"\{\w+\}", "none_1", operation.path)
        method = operation.method.upper()
        data = form.encode() if method == "POST" else None
        request = urllib.request.Request(  # noqa: S310 - loopback
            url if data is not None else f"{url}?{form}",
            data,
            method=method,
            headers={"Authorization": f"Bearer {served.api_key}"},
        )
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                status, body = refused.code, refused.read()
        assert status < 500, f"{method} {operation.path}: {body.decode()}"


BY_HAND = {name: family for name, family in FAMILIES.items() if not callable(family.blank)}


@pytest.mark.parametrize("family", BY_HAND.values(), ids=list(BY_HAND))
def test_a_blank_object_lists_only_what_the_sdks_types_lack(family):
    derived = blank_of(family.object)

    repeated = {name for name, value in family.blank.items() if name in derived and repr(value) == repr(derived[name])}

    assert repeated == set()
