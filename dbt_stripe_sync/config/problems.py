"""Collects every problem of a configuration, so that a user sees them all at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dbt_stripe_sync.errors import Problem, Severity

if TYPE_CHECKING:
    from dbt_stripe_sync.errors import Location

# docs.stripe.com/keys, docs.stripe.com/webhooks/signature: secret and restricted keys, and the secrets of webhooks.
SECRET = re.compile(r"\b(?:[sr]k_(?:live|test)|whsec)_\w+")


def without_secrets(text: str) -> str:
    """A text in which nothing is left of a Stripe secret but its kind."""
    return SECRET.sub(lambda found: f"{found[0].partition('_')[0]}_…", text)


@dataclass(slots=True)
class Problems:
    """The problems found so far. A message may quote what stands in YAML: a secret in it is left out."""

    found: list[Problem] = field(default_factory=list)
    _settled: set[Location] = field(default_factory=set)

    def add(
        self, code: str, where: Location, summary: str, hint: str | None = None, *, severity: Severity = Severity.ERROR
    ) -> None:
        """Note one."""
        if replace(where, sync=None) in self._settled:
            return
        self.found.append(
            Problem(
                code=code,
                summary=without_secrets(summary),
                where=replace(where, field=without_secrets(where.field)) if where.field else where,
                hint=without_secrets(hint) if hint else hint,
                severity=severity,
            )
        )

    def settle(self, where: Location) -> None:
        """Whatever else is found at this very place follows from what was said of it, and is left out."""
        self._settled.add(replace(where, sync=None))
