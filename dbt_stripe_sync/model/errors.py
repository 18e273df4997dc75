"""Problems that a user can fix, and the exceptions that carry them to the command line.

A `Problem` says what is wrong, where, and how to fix it, and never contains a row's value or a key. Code that can find
several problems collects them and raises once.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Iterable


class Severity(Enum):
    """Whether a problem stops the part that it concerns."""

    ERROR = "error"
    WARNING = "warning"


class Location(Struct, frozen=True, kw_only=True):
    """Where a problem is. Every part is optional; `key` is a row's key in its canonical text."""

    file: str | None = None
    model: str | None = None
    sync: str | None = None
    field: str | None = None
    key: str | None = None

    def at_field(self, *path: str) -> Location:
        """Return the same location, one or more steps further into the YAML."""
        steps = ".".join(path)
        return replace(self, field=f"{self.field}.{steps}" if self.field else steps)

    def at_key(self, key: str) -> Location:
        """Return the same location, for one row."""
        return replace(self, key=key)

    def __str__(self) -> str:
        thing = ".".join(part for part in (self.model or self.sync, self.field) if part)
        if self.key is not None:
            thing = f"{thing} [{self.key}]" if thing else f"[{self.key}]"
        return ": ".join(part for part in (self.file, thing) if part)


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `code` is kebab-case and stable."""

    code: str
    summary: str
    where: Location = Location()
    hint: str | None = None
    severity: Severity = Severity.ERROR


class SyncError(Exception):
    """An error that the user can fix.

    `problems` has at least one; the command line prints them all. `exit_code` is 2 if nothing could be done and 1 if
    part of the work was.
    """

    exit_code = 2

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("; ".join(f"{p.code}: {p.summary}" for p in self.problems))


class ConfigError(SyncError):
    """The dbt project, a profile, a setting or a sync's meta is wrong."""


class WarehouseError(SyncError):
    """The warehouse can't be reached or read."""


class StripeError(SyncError):
    """Stripe can't be reached, or rejects the key or the account."""


class ReadLimitError(SyncError):
    """The limit on reads of Stripe, `max_reads`, is used up.

    `needed` is how many more reads it takes, if known. It isn't a failure of Stripe, so it can't be mistaken for an
    answer.
    """

    def __init__(self, needed: int | None = None) -> None:
        super().__init__(())
        self.needed = needed


class StateError(SyncError):
    """The state store is locked, unreadable, read-only, or belongs to another project or account."""


class DbtCloudError(SyncError):
    """dbt Cloud can't be reached, rejects a request, or has no artifacts that can be synced."""


class PlanError(SyncError):
    """A plan file can't be applied: stale, altered, or made for something else."""
