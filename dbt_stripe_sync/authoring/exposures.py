"""Exposures, so that every sync stands in dbt's lineage graph and docs, behind the models that it reads."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from dbt_stripe_sync.config.columns import models_of
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.model.sync import Sync

FILE = "stripe_sync_exposures.yml"
HEADER = "# Written by `dbt-stripe-sync docs`; run it again when the syncs have changed."
# Pages of the dashboard by resource; for the others its start page.
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


def render_exposures(syncs: Sequence[Sync], *, package: str) -> str:
    """The YAML, the same for the same syncs. `package` is the project's name: its models need no other."""
    lines = [HEADER, "version: 2", ""]
    lines.append("exposures:" if syncs else "exposures: []")
    for sync in sorted(syncs, key=lambda sync: sync.name):
        lines += _exposure(sync, package)
    return "\n".join(lines) + "\n"


def write_exposures(syncs: Sequence[Sync], file: Path, *, package: str) -> bool:
    """Write the file, and say whether it has changed.

    Raises `ConfigError` where somebody else's file is there already.
    """
    text = render_exposures(syncs, package=package)
    if file.exists():
        before = file.read_text(encoding="utf-8")
        if before == text:
            return False
        if not before.startswith(HEADER):
            raise ConfigError(
                Problem(
                    code="file-exists",
                    summary="the file is there already, and was not written by `dbt-stripe-sync docs`",
                    where=Location(file=str(file)),
                    hint="name another one with `--out`",
                )
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return True


def _exposure(sync: Sync, package: str) -> Iterator[str]:
    article = "an" if sync.resource[0] in "aeiou" else "a"
    description = f"Each row of {sync.model.name} is {article} {sync.resource} in Stripe."
    if sync.depends_on:
        description += f" It refers to objects of {', '.join(sync.depends_on)}."
    # dbt takes letters, digits and underscores alone.
    yield f"  - name: stripe_{re.sub(r'[^A-Za-z0-9_]', '_', sync.name)}"
    yield f"    label: {json.dumps(f'Stripe: {sync.name}')}"
    yield "    type: application"
    yield f"    url: https://dashboard.stripe.com/{_PAGES.get(sync.resource, 'dashboard')}"
    yield f"    description: {json.dumps(description)}"
    yield "    depends_on:"
    for model in models_of(sync):
        yield f"      - {_ref(model, package)}"
    yield "    owner:"
    yield "      name: dbt-stripe-sync"


def _ref(model: ModelNode, package: str) -> str:
    return f"ref('{model.name}')" if model.package == package else f"ref('{model.package}', '{model.name}')"
