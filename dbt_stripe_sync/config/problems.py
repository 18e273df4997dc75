"""Collects every problem of a configuration, so that a user sees them all at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dbt_stripe_sync.errors import Problem, Severity

if TYPE_CHECKING:
    from dbt_stripe_sync.errors import Location


@dataclass(slots=True)
class Problems:
    """The problems found so far."""

    found: list[Problem] = field(default_factory=list)

    def add(
        self, code: str, where: Location, summary: str, hint: str | None = None, *, severity: Severity = Severity.ERROR
    ) -> None:
        """Note one."""
        self.found.append(Problem(code=code, summary=summary, where=where, hint=hint, severity=severity))
