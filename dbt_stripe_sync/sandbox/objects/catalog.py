"""Products, their features, and the entitlement features that can be attached to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, own_id, refuse
from dbt_stripe_sync.sandbox.listing import page_of
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects.prices import add_price

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_LISTS = ("images", "marketing_features")


def _create_product(work: Work, request: ApiRequest) -> Body:
    chosen = request.get("id")
    body = core.new_body(PRODUCT, work, id=own_id(work, PRODUCT.kind, chosen, "Product") if chosen else None)
    body["updated"] = work.now
    _put(body, request.params)
    work.add(PRODUCT.kind, body)
    price = request.get("default_price_data")
    if price:
        body["default_price"] = add_price(work, {**price, "product": body["id"]})["id"]
    return body


def _update_product(work: Work, request: ApiRequest) -> Body:
    body = work.edit(PRODUCT.kind, request.id)
    price = request.get("default_price")
    if price:
        shown = core.reference(work, "price", price, "default_price")
        if shown["product"] != body["id"]:
            raise refuse(f"The price {price} does not belong to the product {body['id']}.", "default_price")
    _put(body, request.params)
    body["updated"] = work.now
    return body


def _put(body: Body, params: dict[str, Any]) -> None:
    apply_params(body, params, leave=("id", "default_price_data", "type"))
    for name in _LISTS:
        if body[name] is None:
            body[name] = []


def _delete_product(work: Work, request: ApiRequest) -> Body:
    """Delete a product, unless it has prices (docs.stripe.com/api/products/delete)."""
    work.get(PRODUCT.kind, request.id)
    if work.find("price", {"product": request.id}):
        raise refuse("This product cannot be deleted because it has one or more user-created prices.", "id")
    return core.delete(PRODUCT, work, request)


def _attach_feature(work: Work, request: ApiRequest) -> Body:
    product = core.reference(work, PRODUCT.kind, request.path["product"], "product")
    feature = core.reference(work, FEATURE.kind, request.params["entitlement_feature"], "entitlement_feature")
    if not feature["active"]:
        raise refuse(f"Feature {feature['id']} is inactive, so it can't be attached.", "entitlement_feature")
    body = core.new_body(PRODUCT_FEATURE, work)
    if any(
        f["entitlement_feature"]["id"] == feature["id"]
        for f in work.find(PRODUCT_FEATURE.kind)
        if work.read_hidden(PRODUCT_FEATURE.kind, f["id"])["product"] == product["id"]
    ):
        raise refuse(f"Feature {feature['id']} is already attached to product {product['id']}.", "entitlement_feature")
    body["entitlement_feature"] = feature
    body.pop("created", None)
    return work.add(PRODUCT_FEATURE.kind, body, hidden={"product": product["id"]})


def _list_features(work: Work, request: ApiRequest) -> Body:
    product = work.get(PRODUCT.kind, request.path["product"], param="product")["id"]
    mine = [
        f
        for f in work.find(PRODUCT_FEATURE.kind)
        if work.read_hidden(PRODUCT_FEATURE.kind, f["id"])["product"] == product
    ]
    return page_of(mine, request)


def _create_feature(work: Work, request: ApiRequest) -> Body:
    if work.find(FEATURE.kind, {"lookup_key": request.params["lookup_key"]}):
        raise refuse(f"A feature with lookup_key {request.params['lookup_key']} already exists.", "lookup_key")
    body = core.create(FEATURE, work, request)
    body.pop("created", None)
    return body


PRODUCT = Family(
    kind="product",
    object="product",
    prefix="prod",
    blank={
        "active": True,
        "default_price": None,
        "description": None,
        "name": None,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "url": None,
    },
    operations={"create": _create_product, "update": _update_product, "delete": _delete_product},
)
PRODUCT_FEATURE = Family(
    kind="product.feature",
    object="product_feature",
    prefix="prodft",
    operations={"create": _attach_feature, "list": _list_features},
)
FEATURE = Family(
    kind="entitlements.feature",
    object="entitlements.feature",
    prefix="feat",
    blank={"active": True, "lookup_key": None, "name": None},
    operations={"create": _create_feature},
    filters={"archived": lambda _work, body, archived: body["active"] is not archived},
    # SDK's description of `active`: inactive features are not returned from the list.
    default_filters={"archived": False},
)
FAMILIES = (PRODUCT, PRODUCT_FEATURE, FEATURE)
