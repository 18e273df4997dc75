"""The contents of an alert about a run that needs attention: reasons, counts and links, never a value or a key."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping

# `failure`: the run stopped, or rows were rejected. `held`: dbt failed to build or test models. `drift`: somebody else
# changed objects in Stripe. `limits`: a guard stopped a sync. `owed`: steps or unresolved changes remain.
REASONS = ("failure", "held", "drift", "limits", "owed")


class AlertForm(Enum):
    """What the receiver reads: JSON in this program's own format, or a Slack message."""

    JSON = "json"
    SLACK = "slack"


class SyncAlert(Struct, frozen=True, kw_only=True):
    """One sync that needs attention: its rows by their results."""

    sync: str
    resource: str
    rows: int
    rejected: int
    is_held: bool


class AlertMessage(Struct, frozen=True, kw_only=True):
    """An alert: `totals` counts changes by their status, `problems` counts problems by their code.

    `owed` are the steps of changes that are still to be done.
    """

    reasons: tuple[str, ...]
    status: str
    project: str
    target: str
    run_id: str | None = None
    account: str | None = None
    livemode: bool | None = None
    started_at: str | None = None
    finished_at: str | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    owed: int = 0
    problems: Mapping[str, int] = field(default_factory=dict)
    syncs: tuple[SyncAlert, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
