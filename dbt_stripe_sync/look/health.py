"""Runs the checks of `debug`: each part that a run needs, with a hint if it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.dbt.unread import find_unread
from dbt_stripe_sync.event_loop import run_to_end
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import SyncError
from dbt_stripe_sync.model.lifecycle import Removal
from dbt_stripe_sync.model_columns import check_models, find_missing_columns
from dbt_stripe_sync.state.opening import check_creatable
from dbt_stripe_sync.stripe_api.keys import is_restricted
from dbt_stripe_sync.stripe_api.permissions import list_permissions
from dbt_stripe_sync.wiring import check_account, check_target, opened_state, opened_stripe, opened_warehouse
from dbt_stripe_sync.workload import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.model.calls import Account
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.workload import ProjectOptions, Workload


class Check(Struct, frozen=True, kw_only=True):
    """One check and its result. `ok` is None if it was skipped, because it needs a part that failed."""

    name: str
    ok: bool | None
    detail: str
    problems: tuple[Problem, ...] = ()


def check_health(options: ProjectOptions) -> Iterator[Check]:
    """Check the project, the warehouse, Stripe and the state. A check that needs a failed part is skipped.

    Side effects: a state on an object store is created if Stripe says whose key it is.
    """
    loaded: list[Workload] = []

    def project() -> str:
        loaded.append(load_workload(options, look_further=find_missing_columns))
        workload = loaded[0]
        return f"{workload.project}, target {workload.target}, built by dbt {workload.manifest.dbt_version}"

    yield _try("project", project)
    if not loaded:
        return
    workload = loaded[0]
    yield Check(
        name="syncs",
        ok=bool(workload.syncs),
        detail=", ".join(sync.name for sync in workload.syncs) or "none",
        problems=(*workload.warnings, *workload.doubts, *find_unread(workload.dbt, workload.manifest)),
    )
    if not workload.syncs:
        return
    yield _try("warehouse", lambda: _warehouse(workload))
    known: list[Account] = []
    yield _try("stripe", lambda: run_to_end(_stripe(workload, known)))
    account = known[0] if known else None
    if account is not None:
        yield _try("permissions", lambda: run_to_end(_permissions(workload)))
    else:
        yield Check(name="permissions", ok=None, detail="skipped, because the check of Stripe failed")
    yield _try("state", lambda: _state(workload, account))


def _try(name: str, act: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=act())
    except SyncError as error:
        return Check(name=name, ok=False, detail=error.problems[0].summary, problems=error.problems)


def _warehouse(workload: Workload) -> str:
    check_target(workload)
    with opened_warehouse(workload.dbt) as warehouse:
        check_models(workload, warehouse)
    return f"{workload.dbt.target.get('type')}, has every column that the syncs read"


async def _stripe(workload: Workload, known: list[Account]) -> str:
    async with opened_stripe(workload, SystemClock()) as stripe:
        account = await stripe.account()
        check_account(workload, account)
        known.append(account)
        mode = "LIVE" if account.livemode else "test"
        return f"{account.id} ({mode}), API {account.api_version}, at {workload.address}"


async def _permissions(workload: Workload) -> str:
    """Check whether the key may read what the syncs write. Write permission can't be checked without writing."""
    resources = sorted({sync.resource for sync in workload.syncs})
    async with opened_stripe(workload, SystemClock()) as stripe:
        refused = [name for name in resources if not await _may_list(workload, stripe, name)]
    allowed = [name for name in resources if name not in refused]
    may = f"may read {', '.join(allowed)}" if allowed else ""
    may_not = f"may not read {', '.join(refused)}: existing objects can't be found there" if refused else ""
    needs = ", ".join(list_permissions(resources, _looked_at(workload))) if is_restricted(workload.key) else ""
    return "; ".join(part for part in (may, may_not, f"needs {needs}" if needs else "") if part)


def _looked_at(workload: Workload) -> set[str]:
    """What a plan reads besides the syncs' own objects: prices that they name, and objects that end with them."""
    found = set()
    for sync in workload.syncs:
        lifecycle = workload.catalog.resources[sync.resource].lifecycle
        found |= {"price"} if lifecycle.prices_named else set()
        if sync.on_removed in lifecycle.permanent:
            found |= {rule.resource for rule in (*lifecycle.ends_with_it, *lifecycle.kept_by)}
        if sync.on_removed is not Removal.IGNORE:
            found |= {name for rule in lifecycle.used_by for name in (rule.resource, rule.through.resource)}
    return found


async def _may_list(workload: Workload, stripe: Stripe, name: str) -> bool:
    resource = workload.catalog.resource(name)
    operation = resource.operation("list") if resource else None
    if operation is None or operation.path_params:
        return True
    answer = await stripe.send(Call(resource=name, operation="list", params={"limit": 1}))
    return answer.verdict is Verdict.DONE


def _state(workload: Workload, account: Account | None) -> str:
    """Check that the state can be opened, and belongs to the account if that is known."""
    place = workload.state_place
    if place.remote is None and not place.path.exists():
        check_creatable(place.path)
        return f"{place}, which the first run creates"
    with opened_state(workload, account, SystemClock()) as state:
        count = sum(records for _, _, records in state.summary())
        waiting = sum(1 for _ in state.open_intents())
        left = f", {counted(waiting, 'change')} to settle" if waiting else ""
        whose = "" if account is not None else "; whether it belongs to the key's account is unknown"
        return f"{place}, {counted(count, 'record')}{left}{whose}"
