"""Writes exposures, so that dbt's lineage graph and docs show every sync after the models that it reads."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.authoring.generated import write_generated
from dbt_stripe_sync.model.counting import with_article
from dbt_stripe_sync.model.errors import Location, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.model.sync import Sync

FILE = "stripe_sync_exposures.yml"
HEADER = "# Written by `dbt-stripe-sync docs`; run it again when the syncs have changed."
# Pages of the Dashboard by resource; for others, its start page.
_PAGES = {
    "coupon": "coupons",
    "customer": "customers",
    "invoice": "invoices",
    "invoice_item": "invoices",
    "payment_link": "payment-links",
    "price": "products",
    "product": "products",
    "quote": "quotes",
    "subscription": "subscriptions",
    "subscription_item": "subscriptions",
    "subscription_schedule": "subscriptions",
    "tax_rate": "tax-rates",
}


class Referrer(Struct, frozen=True, kw_only=True):
    """The source of references: the project's name, and the packages that restrict access to their models."""

    package: str
    restricted: frozenset[str] = frozenset()

    def may_refer_to(self, model: ModelNode) -> bool:
        """Whether dbt lets an exposure of the project depend on a model.

        docs.getdbt.com/reference/resource-configs/access: a private model is for its own group, which no exposure has.
        A protected one is for its own package, if that has `restrict-access: true`.
        """
        if model.access == "private":
            return False
        return model.access == "public" or model.package == self.package or model.package not in self.restricted


def render_exposures(syncs: Sequence[Sync], referrer: Referrer) -> str:
    """The YAML, which is the same for the same syncs, without models that an exposure may not refer to."""
    lines = [HEADER, "version: 2", ""]
    exposures = [line for sync in sorted(syncs, key=lambda sync: sync.name) for line in _exposure(sync, referrer)]
    lines += ["exposures:", *exposures] if exposures else ["exposures: []"]
    return "\n".join(lines) + "\n"


def find_left_out(syncs: Sequence[Sync], referrer: Referrer) -> Iterator[Problem]:
    """A note for each model that is missing from the exposure of its sync."""
    for sync in syncs:
        for model in sync.models:
            if not referrer.may_refer_to(model):
                yield Problem(
                    code="private-model",
                    summary=f"the exposure of `{sync.name}` leaves out `{model.label}`, which is "
                    f"{model.access or 'protected'}: dbt doesn't let exposures of this project refer to it",
                    where=Location(file=model.file, model=model.label),
                    hint="give the model `access: public` to see the sync in dbt's lineage",
                    severity=Severity.WARNING,
                )


def write_exposures(syncs: Sequence[Sync], file: Path, referrer: Referrer) -> bool:
    """Write the file, and return whether it has changed.

    Raises `ConfigError` if the existing file is not a generated one.
    """
    return write_generated(render_exposures(syncs, referrer), file, header=HEADER, command="docs")


def _exposure(sync: Sync, referrer: Referrer) -> Iterator[str]:
    models = [model for model in sync.models if referrer.may_refer_to(model)]
    if not models:
        return
    description = f"Each row of {sync.model.label} is {with_article(sync.resource)} in Stripe."
    if sync.depends_on:
        description += f" It refers to objects of {', '.join(sync.depends_on)}."
    # dbt accepts only letters, digits and underscores.
    yield f"  - name: stripe_{re.sub(r'[^A-Za-z0-9_]', '_', sync.name)}"
    yield f"    label: {json.dumps(f'Stripe: {sync.name}')}"
    yield "    type: application"
    yield f"    url: https://dashboard.stripe.com/{_PAGES.get(sync.resource, 'dashboard')}"
    yield f"    description: {json.dumps(description)}"
    yield "    depends_on:"
    for model in models:
        yield f"      - {_ref(model, referrer.package)}"
    yield "    owner:"
    yield "      name: dbt-stripe-sync"


def _ref(model: ModelNode, package: str) -> str:
    names = [model.name] if model.package == package else [model.package, model.name]
    arguments = [f"'{name}'" for name in names]
    if model.version is not None:
        # Without a version, `ref` would mean another model as soon as there is a newer version.
        is_number = re.fullmatch(r"\d+(\.\d+)?", model.version) is not None
        arguments.append(f"v={model.version}" if is_number else f"v='{model.version}'")
    return f"ref({', '.join(arguments)})"
