"""Families for resources that have no special rules in the sandbox."""

from __future__ import annotations

from functools import partial

from dbt_stripe_sync.sandbox.family import Family
from dbt_stripe_sync.stripe_api.sdk_shapes import OBJECT_CLASSES, blank_of

_PREFIXES = {
    "account": "acct",
    "charge": "ch",
    "checkout.session": "cs_test",
    "file": "file",
    "payment_intent": "pi",
    "payment_method": "pm",
    "payout": "po",
    "refund": "re",
    "review": "prv",
    "setup_intent": "seti",
    "topup": "tu",
    "transfer": "tr",
    "terminal.reader": "tmr",
    "terminal.location": "tml",
    "issuing.card": "ic",
    "issuing.cardholder": "ich",
    "radar.value_list": "rsl",
    "radar.value_list_item": "rsli",
    "tax.registration": "taxreg",
    "billing.alert": "alrt",
    "test_helpers.test_clock": "clock",
}


def plain_family(resource: str) -> Family:
    """Return a family that shows its parameters in the otherwise empty shape of its object."""
    name = _object_name(resource)
    parents = resource.split(".")[:-1]
    return Family(
        kind=resource,
        object=name,
        prefix=_PREFIXES.get(resource) or "".join(word[:3] for word in name.replace(".", "_").split("_")),
        blank=partial(blank_of, name),
        parents={parent: parent for parent in parents},
    )


def _object_name(resource: str) -> str:
    last = resource.rsplit(".", 1)[-1]
    for name in (resource, resource.replace(".", "_"), last, last.replace("_", "")):
        if name in OBJECT_CLASSES:
            return name
    return last
