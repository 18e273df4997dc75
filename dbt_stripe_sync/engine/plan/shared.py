"""What the syncs of one plan share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from dbt_stripe_sync.engine.plan.comparing import Comparing
    from dbt_stripe_sync.engine.plan.finalization import Referrers
    from dbt_stripe_sync.engine.plan.observing import Observing
    from dbt_stripe_sync.engine.plan.ordering import Uniques
    from dbt_stripe_sync.engine.plan.parent_limits import ParentLimits
    from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
    from dbt_stripe_sync.engine.plan.reads import Reads
    from dbt_stripe_sync.engine.plan.refreshing import Refreshing
    from dbt_stripe_sync.engine.plan.renamed import RenameCheck
    from dbt_stripe_sync.engine.plan.settling import Settling
    from dbt_stripe_sync.engine.ports import RowProgress, State, Stripe, Warehouse
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.fingerprints import Fingerprints


class Planning(Struct, kw_only=True):
    """What the syncs of one plan share.

    `referenced` names the syncs whose ids others in this plan need, and `referred_to` those that any sync refers to.
    `room` is the number of changes left, and `calls_per_second` the pace of reads from Stripe.
    """

    workspace: Workspace
    warehouse: Warehouse
    stripe: Stripe
    state: State
    fingerprints: Fingerprints
    observing: Observing
    clock: Clock
    writer: PlanWriter
    referenced: frozenset[str]
    referred_to: frozenset[str]
    referrers: Referrers
    settling: Settling
    refreshing: Refreshing
    uniques: Uniques
    parent_limits: ParentLimits
    renamed: RenameCheck
    progress: RowProgress
    reading: Reads
    calls_per_second: float
    comparing: Comparing
    room: int | None = None
    staged: int = 0
