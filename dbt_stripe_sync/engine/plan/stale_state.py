"""Detects a state that is older than what was sent, before its objects are created again.

If the state was lost, or replaced by an older copy, Stripe has objects whose tag names a row and that the state doesn't
have. They are newer than all that it has, so the newest page of a list contains them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.plan.listing import everything
from dbt_stripe_sync.engine.stage.diff import read_forgotten
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.errors import Problem, StateError
from dbt_stripe_sync.model.lifecycle import ByStatus
from dbt_stripe_sync.model.objects import object_value
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from dbt_stripe_sync.engine.ports import State, Stripe
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Catalog, Resource
    from dbt_stripe_sync.model.plan import Plan
    from dbt_stripe_sync.model.sync import Sync

# The largest assumed difference between this machine's clock and Stripe's.
CLOCK_SKEW = timedelta(minutes=2)


class StaleStateCheck:
    """Looks for objects of a sync that should be in the state but aren't."""

    def __init__(self, workspace: Workspace, stripe: Stripe, state: State) -> None:
        self._workspace = workspace
        self._stripe = stripe
        self._state = state

    async def check(self, sync: Sync, resource: Resource, *, makes_new: bool, may_replace: bool) -> None:
        """Stop before anything is created if a later state has already created some of the objects.

        Costs a page of a list if something will be created or replaced. Raises `StateError` with the number of objects,
        and `StripeError` if Stripe can't be asked.
        """
        lifecycle = resource.lifecycle
        is_tagged = lifecycle.tagged and "metadata" in resource.params
        is_listed = lifecycle.listed and "list" in resource.operations
        if sync.part_of is not None or not (is_tagged and is_listed) or not (makes_new or may_replace):
            return
        since = self._since(sync, "created_at" if makes_new else "updated_at")
        if since is None:
            return  # without a record, the sync looks for the tag of each of its rows anyway
        found = 0
        # Forgotten rows have no record on purpose, and their objects are found by their tag.
        forgotten = read_forgotten(self._workspace, sync.name)
        async for key, body in self._younger(sync, resource, since):
            found += key not in forgotten and await self._is_unknown(sync, lifecycle, key, body)
        if found:
            raise StateError(_behind(sync, found))

    def _since(self, sync: Sync, column: str) -> int | None:
        """The Unix time since which the state may lack something; None if it has no record of the sync."""
        query = f"SELECT CAST(epoch(max({column})) AS BIGINT) FROM known_records WHERE sync = $sync"
        (last,) = self._workspace.one(query, {"sync": sync.name})
        return None if last is None else int(last) - int(CLOCK_SKEW.total_seconds())

    async def _younger(
        self, sync: Sync, resource: Resource, since: int
    ) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """Objects with a tag of the sync and the keys of their rows, back to `since`."""
        prefix = f"{sync.project}/{sync.name}/"
        async for page in everything(self._stripe, resource, since=since):
            for body in page:
                tag = str(object_value(body, f"metadata.{TAG}") or "")
                if tag.startswith(prefix) and not body.get("deleted"):
                    yield tag.removeprefix(prefix), body

    async def _is_unknown(self, sync: Sync, lifecycle: Lifecycle, key: str, body: Mapping[str, Any]) -> bool:
        row = {"sync": sync.name, "key": key}
        stripe_id = str(body["id"])
        if self._workspace.one("SELECT 1 FROM work.unsettled WHERE sync = $sync AND key = $key", row):
            return False
        if stripe_id in self._state.known_objects([stripe_id], resource=sync.resource, sync=sync.name, key=key):
            return False
        recorded = self._workspace.one("SELECT stripe_id FROM known_records WHERE sync = $sync AND key = $key", row)
        if not recorded:
            return True
        # The row has an object: this one may be a copy made by hand, including its metadata.
        answer = await self._stripe.send(Call(resource=sync.resource, operation="retrieve", target=recorded[0]))
        if answer.verdict is Verdict.DONE:
            return has_ended(lifecycle, answer.body)
        return answer.is_missing


async def check_plan_not_behind(
    syncs: Sequence[Sync], catalog: Catalog, stripe: Stripe, state: State, plan: Plan
) -> None:
    """Check a state that was restored together with the plan made from it: it would look as if nothing had been sent.

    Raises `StateError` and `StripeError`, as `StaleStateCheck.check` does.
    """
    workspace = Workspace(state.workspace)
    note_unsettled(workspace, state)
    behind = StaleStateCheck(workspace, stripe, state)
    counts = {counts.sync: counts.by_action for counts in plan.counts}
    for sync in syncs:
        made, replaced = (counts.get(sync.name, {}).get(action.value, 0) for action in (Action.CREATE, Action.REPLACE))
        await behind.check(sync, catalog.resources[sync.resource], makes_new=made > 0, may_replace=replaced > 0)
    workspace.close()


def note_unsettled(workspace: Workspace, state: State) -> int:
    """Leave rows with an unresolved change out of the plan, and report how many there are."""
    count = 0
    for intent in state.open_intents():
        count += 1
        workspace.execute(
            "INSERT INTO work.unsettled VALUES ($sync, $key)", {"sync": intent.change.sync, "key": intent.change.key}
        )
    return count


def has_ended(lifecycle: Lifecycle, body: Mapping[str, Any]) -> bool:
    """Whether an object is gone, has a final status, or has passed its tag to another object."""
    ends = [rule for rule in lifecycle.on_removed.values() if isinstance(rule, ByStatus)]
    is_over = any(str(object_value(body, rule.status_field)) not in rule.steps for rule in ends)
    return bool(body.get("deleted") or object_value(body, f"metadata.{FORMER_TAG}") or is_over)


def _behind(sync: Sync, found: int) -> Problem:
    what = f"{found:,} {sync.resource} {'object carries' if found == 1 else 'objects carry'}"
    return Problem(
        code="state-behind",
        summary=f"the state is older than what was sent: {what} the tag of `{sync.name}` and no record",
        where=sync.where,
        hint="restore the newest state, or read the rest from Stripe with `dbt-stripe-sync state rebuild`, then run"
        " again",
    )
