"""Collects every problem of a configuration, so that a user sees them all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.config.leaks import without_secrets
from dbt_stripe_sync.model.errors import Problem, Severity

if TYPE_CHECKING:
    from dbt_stripe_sync.model.errors import Location


class Problems(Struct):
    """The problems found so far. A message may quote YAML, but never a secret in it."""

    found: list[Problem] = field(default_factory=list)
    _settled: set[Location] = field(default_factory=set)

    def add(
        self, code: str, where: Location, summary: str, hint: str | None = None, *, severity: Severity = Severity.ERROR
    ) -> None:
        """Add a problem."""
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
        """Suppress further problems at the same location, which follow from the first."""
        self._settled.add(replace(where, sync=None))
