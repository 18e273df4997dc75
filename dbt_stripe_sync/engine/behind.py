"""A state that is older than what was sent: a copy from before objects were made, told before they are made again.

A run on a state whose file was then lost, or replaced by an older one, has left objects in Stripe whose tag names a row
and that the state knows nothing of. They are younger than all that the state has made, so the newest page of a list
shows them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.changes import is_tagged
from dbt_stripe_sync.engine.diff import Kind
from dbt_stripe_sync.engine.references import PAGE, created_at, object_value
from dbt_stripe_sync.errors import Problem, StateError
from dbt_stripe_sync.stripe_api.calls import Call, Verdict
from dbt_stripe_sync.stripe_api.lifecycle import ByStatus, Replace
from dbt_stripe_sync.stripe_api.tag import FORMER_TAG, TAG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dbt_stripe_sync.engine.changes import Rules
    from dbt_stripe_sync.engine.diff import DiffCounts
    from dbt_stripe_sync.engine.ports import State, Stripe
    from dbt_stripe_sync.engine.workspace import Workspace
    from dbt_stripe_sync.stripe_api.lifecycle import Lifecycle

# How far this machine's clock and Stripe's may be apart.
CLOCK_SKEW = timedelta(minutes=2)


class Behind:
    """Looks for objects of a sync that the state should know and does not."""

    def __init__(self, workspace: Workspace, stripe: Stripe, state: State) -> None:
        self._workspace = workspace
        self._stripe = stripe
        self._state = state

    async def check(self, rules: Rules, counts: DiffCounts) -> None:
        """Stop a plan that would make objects, where a later state than this one has made some of them already.

        Costs a page of a list where a sync has new rows, or changed ones whose objects may be replaced. Raises
        `StateError` with the number of objects, and `StripeError` where Stripe can't be asked.
        """
        since = self._since(rules, counts)
        if since is None:
            return
        found = 0
        async for key, body in self._younger(rules, since):
            found += await self._is_unknown(rules, key, body)
        if found:
            raise StateError(_behind(rules, found))

    def _since(self, rules: Rules, counts: DiffCounts) -> int | None:
        """The Unix time since which unknown objects are looked for; None where there is nothing to look for."""
        lifecycle = rules.lifecycle
        rule = lifecycle.replace_if_asked or lifecycle.when_immutable_changes
        makes_new = counts.kinds[Kind.NEW] > 0
        may_replace = counts.kinds[Kind.CHANGED] > 0 and isinstance(rule, Replace)
        is_listed = is_tagged(rules) and lifecycle.listed and "list" in rules.resource.operations
        if not is_listed or not (makes_new or may_replace):
            return None
        # Without a record, the sync looks for the tag of each of its rows anyway.
        column = "created_at" if makes_new else "updated_at"
        query = f"SELECT CAST(epoch(max({column})) AS BIGINT) FROM records WHERE sync = $sync"
        (last,) = self._workspace.one(query, {"sync": rules.sync.name})
        return None if last is None else int(last) - int(CLOCK_SKEW.total_seconds())

    async def _younger(self, rules: Rules, since: int) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """Objects with a tag of the sync and the keys of their rows, as far back as `since`."""
        prefix = f"{rules.sync.project}/{rules.sync.name}/"
        async for page in self._stripe.pages(rules.resource.name, {"limit": PAGE}):
            for body in page:
                tag = str(object_value(body, f"metadata.{TAG}") or "")
                if tag.startswith(prefix) and not body.get("deleted"):
                    yield tag.removeprefix(prefix), body
            # The newest come first (docs.stripe.com/api/pagination). What shows no time is listed to its end.
            if page and 0 < created_at(page[-1]) < since:
                return

    async def _is_unknown(self, rules: Rules, key: str, body: Mapping[str, Any]) -> bool:
        sync, resource = rules.sync.name, rules.resource.name
        row = {"sync": sync, "key": key}
        stripe_id = str(body["id"])
        if self._workspace.one("SELECT 1 FROM work.unsettled WHERE sync = $sync AND key = $key", row):
            return False
        if stripe_id in self._state.known_objects([stripe_id], resource=resource, sync=sync, key=key):
            return False
        recorded = self._workspace.one("SELECT stripe_id FROM records WHERE sync = $sync AND key = $key", row)
        if not recorded:
            return True
        # The row has an object: this one may be a copy that somebody made by hand, with its metadata.
        answer = await self._stripe.send(Call(resource=resource, operation="retrieve", target=recorded[0]))
        if answer.verdict is Verdict.DONE:
            return has_ended(rules.lifecycle, answer.body)
        return answer.failure is not None and answer.failure.code == "resource_missing"


def has_ended(lifecycle: Lifecycle, body: Mapping[str, Any]) -> bool:
    """Whether an object is gone, has a status that nothing leads out of, or has given its tag up to another."""
    ends = [rule for rule in lifecycle.on_removed.values() if isinstance(rule, ByStatus)]
    is_over = any(str(object_value(body, rule.status_field)) not in rule.steps for rule in ends)
    return bool(body.get("deleted") or object_value(body, f"metadata.{FORMER_TAG}") or is_over)


def _behind(rules: Rules, found: int) -> Problem:
    what = f"{found:,} {rules.resource.name} {'object carries' if found == 1 else 'objects carry'}"
    return Problem(
        code="state-behind",
        summary=f"the state is older than what was sent: {what} the tag of `{rules.sync.name}` and no record",
        where=rules.sync.where,
        hint="put the newest state back, or let `dbt-stripe-sync state rebuild` read the rest from Stripe, then run it",
    )
