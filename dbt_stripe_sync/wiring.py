"""Opens the parts that do a run's I/O."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.config.settings import parse_settings
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.keys import check_organization, is_live

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from dbt_stripe_sync.dbt.project import DbtProject
    from dbt_stripe_sync.engine.ports import Stripe, Warehouse
    from dbt_stripe_sync.model.calls import Account
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.state.store import StateStore
    from dbt_stripe_sync.stripe_api.catalog import Catalog
    from dbt_stripe_sync.warehouse.requests import AdapterRequest
    from dbt_stripe_sync.workload import Workload

# Objects of each sync that are looked up before a state changes accounts, since one may have been deleted.
OBJECTS_TO_CHECK = 3


class Parts(Struct, frozen=True, kw_only=True):
    """The parts that do a run's I/O. The warehouse is open only while rows are read, since it may hold locks."""

    stripe: Stripe
    state: StateStore
    clock: Clock
    account: Account
    catalog: Catalog


@asynccontextmanager
async def open_parts(
    workload: Workload, *, clock: Clock | None = None, only_looks: bool = False
) -> AsyncIterator[Parts]:
    """Open Stripe and the state. With `only_looks`, open a copy of the state if a run holds it. Raises `SyncError`."""
    check_target(workload)
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        stripe = await stack.enter_async_context(opened_stripe(workload, clock))
        account = await stripe.account()
        check_account(workload, account)
        # In a thread, so that Ctrl-C works while waiting for another run's lock.
        state = await asyncio.to_thread(
            stack.enter_context, opened_state(workload, account, clock, only_looks=only_looks)
        )
        if state.bound_to_key is not None:
            await bind_state(state, stripe, workload.state_place.path, account)
        await asyncio.to_thread(state.seal)
        # A request may wait for its turn longer than this run holds the state.
        stripe.check_before_writes(state.check_held)
        yield Parts(stripe=stripe, state=state, clock=clock, account=account, catalog=workload.catalog)


async def bind_state(state: StateStore, stripe: Stripe, path: Path, account: Account) -> None:
    """Bind a state that belonged to a restricted key to the current key's account, if its objects exist there.

    Raises `StateError` if they don't, or if that can't be determined.
    """
    from dbt_stripe_sync.state.problems import other_identity

    asked = 0
    for sync, resource, _ in state.summary():
        operation = read_catalog().resources[resource].operations.get("retrieve")
        if operation is None or len(operation.path_params) > 1:
            continue
        for record in state.list_records(sync, limit=OBJECTS_TO_CHECK):
            answer = await stripe.send(Call(resource=resource, operation="retrieve", target=record.stripe_id))
            if answer.verdict is Verdict.DONE:
                state.bind_to(account.id)
                return
            asked += 1
    if asked:
        raise other_identity(path, "account", str(state.bound_to_key), account.id)
    state.bind_to(account.id)


def check_target(workload: Workload) -> None:
    """Check that dbt built the target that is synced. Raises `ConfigError` if another one was built."""
    if workload.other_target is not None and not workload.options.allow_other_target:
        raise ConfigError(workload.other_target)


def check_account(workload: Workload, account: Account) -> None:
    """Check that the key belongs to the account in the settings. Raises `ConfigError`."""
    expected = workload.settings.account
    if expected is not None and expected != account.id:
        raise ConfigError(
            Problem(
                code="other-account",
                summary=f"the key is of account `{account.id}`, and the settings name `{expected}`",
                where=Location(file=workload.dbt.settings_file, field="vars.stripe_sync.account"),
                hint="use a key of that account, or change the setting",
            )
        )


@contextmanager
def opened_warehouse(dbt: DbtProject, *, connect_seconds: float | None = None) -> Iterator[Warehouse]:
    """The warehouse of the project's target. Raises `WarehouseError`."""
    from dbt_stripe_sync.warehouse import TimeLimits, open_warehouse

    settings, _ = parse_settings(dbt.settings, file=dbt.settings_file)
    limits = TimeLimits(
        connect_seconds=connect_seconds or settings.warehouse_connect_timeout,
        read_seconds=settings.warehouse_read_timeout,
    )
    request = adapter_request(dbt)
    with closing(open_warehouse(dbt.target, project_root=dbt.root, adapter=request, limits=limits)) as warehouse:
        yield warehouse


def adapter_request(dbt: DbtProject) -> AdapterRequest:
    """The settings for dbt's adapter, if there is no reader for the warehouse."""
    from dbt_stripe_sync.warehouse import AdapterRequest

    return AdapterRequest(
        project_dir=dbt.root,
        profiles_dir=dbt.profiles_dir,
        profile=dbt.profile,
        target=dbt.target_name,
        vars=dbt.variables,
    )


@asynccontextmanager
async def opened_stripe(workload: Workload, clock: Clock) -> AsyncIterator[Stripe]:
    """Stripe, with the key from the environment. Raises `ConfigError` if the key may not be used here."""
    from dbt_stripe_sync.stripe_api.gateway import Gateway, Patience

    key = workload.key
    account = workload.settings.account
    check_organization(key, account, settings_file=workload.dbt.settings_file)
    patience = Patience(outage_seconds=workload.settings.outage_timeout)
    limits = workload.limits(livemode=is_live(key))
    gateway = Gateway(key, workload.address, limits, clock, account, patience=patience)
    try:
        yield gateway
    finally:
        await gateway.close()


@contextmanager
def opened_state(
    workload: Workload, account: Account | None, clock: Clock, *, only_looks: bool = False
) -> Iterator[StateStore]:
    """The state of the project's target. Without an account, it must exist. Raises `StateError`."""
    from dbt_stripe_sync.state.access import look_at_state, open_state
    from dbt_stripe_sync.state.store import StateIdentity

    identity = (
        StateIdentity(project=workload.project, account=account.id, livemode=account.livemode) if account else None
    )
    opened = look_at_state if only_looks else open_state
    with opened(
        workload.state_place,
        identity=identity,
        wait_seconds=workload.options.wait_for_lock,
        clock=clock,
        retention=workload.retention,
        must_exist=identity is None,
    ) as state:
        yield state
