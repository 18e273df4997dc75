"""What a run works on and what it works with: the dbt project's syncs, and the parts that do the I/O."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.config.columns import check_columns
from dbt_stripe_sync.config.order import in_reference_order
from dbt_stripe_sync.config.settings import Settings, parse_settings
from dbt_stripe_sync.config.sync import parse_syncs
from dbt_stripe_sync.dbt.manifest import held_models, read_manifest, read_run_results
from dbt_stripe_sync.dbt.project import read_project
from dbt_stripe_sync.dbt.selection import select_syncs
from dbt_stripe_sync.engine.clock import SystemClock
from dbt_stripe_sync.engine.types import ChildRows, RowSource
from dbt_stripe_sync.errors import ConfigError, Problem, Severity, SyncError
from dbt_stripe_sync.stripe_api.catalog import read_catalog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.project import DbtProject
    from dbt_stripe_sync.engine.ports import Clock, Stripe, Warehouse
    from dbt_stripe_sync.engine.types import ModelNode, Sync
    from dbt_stripe_sync.state.store import StateStore
    from dbt_stripe_sync.stripe_api.calls import Account
    from dbt_stripe_sync.stripe_api.catalog import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectOptions:
    """Which dbt project, and which of its syncs: what dbt's own options of these names mean."""

    project_dir: Path = Path()
    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None
    variables: str | None = None
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    state_path: Path | None = None
    stripe_url: str | None = None
    wait_for_lock: float = 0.0
    ignore_dbt_results: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The syncs of a project in the order of their references, and what they were read from.

    `held` gives a reason for each sync whose models dbt did not build well.
    """

    options: ProjectOptions
    dbt: DbtProject
    manifest: Manifest
    settings: Settings
    catalog: Catalog
    syncs: tuple[Sync, ...]
    held: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    @property
    def project(self) -> str:
        """The dbt project's name."""
        return self.dbt.name

    @property
    def target(self) -> str:
        """The name of the dbt target."""
        return self.dbt.target_name

    @property
    def manifest_digest(self) -> str:
        """What a plan remembers of the manifest."""
        return self.manifest.digest

    @property
    def state_path(self) -> Path:
        """Where the state lies: never under `target/`, which `dbt clean` empties."""
        chosen = self.options.state_path or (Path(self.settings.state_path) if self.settings.state_path else None)
        if chosen is None:
            return self.dbt.root / ".stripe_sync" / f"{self.dbt.target_name}.duckdb"
        return chosen if chosen.is_absolute() or self.options.state_path else self.dbt.root / chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What does the I/O of a run."""

    warehouse: Warehouse
    stripe: Stripe
    state: StateStore
    clock: Clock
    account: Account


def load_workload(options: ProjectOptions) -> Workload:
    """Discover the syncs of a dbt project.

    Raises `ConfigError` with every problem at once.
    """
    dbt = read_project(
        options.project_dir,
        profiles_dir=options.profiles_dir,
        profile=options.profile,
        target=options.target,
        cli_vars=options.variables,
    )
    settings, problems = parse_settings(dbt.settings)
    manifest = read_manifest(dbt.target_path / "manifest.json", project_root=dbt.root)
    catalog = read_catalog()
    parsed = parse_syncs(manifest.nodes, catalog, project=dbt.name)
    problems = [*problems, *parsed.problems]
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise ConfigError(problems)
    selection = select_syncs(parsed.syncs, manifest, dbt, select=options.select, exclude=options.exclude)
    syncs = tuple(in_reference_order(selection.syncs))
    results = dbt.target_path / "run_results.json"
    held = {} if options.ignore_dbt_results else held_models(manifest, read_run_results(results))
    return Workload(
        options=options,
        dbt=dbt,
        manifest=manifest,
        settings=settings,
        catalog=catalog,
        syncs=syncs,
        held={sync.name: reason for sync in syncs if (reason := _held(sync, held))},
        warnings=(*problems, *selection.warnings),
    )


@asynccontextmanager
async def open_parts(workload: Workload, *, clock: Clock | None = None) -> AsyncIterator[Parts]:
    """Open the warehouse, Stripe and the state, in the order in which their mistakes are cheapest to find.

    Raises `SyncError`.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        stripe = await stack.enter_async_context(opened_stripe(workload, clock))
        warehouse = stack.enter_context(opened_warehouse(workload))
        check_models(workload, warehouse)
        account = await stripe.account()
        state = stack.enter_context(opened_state(workload, account, clock))
        yield Parts(warehouse=warehouse, stripe=stripe, state=state, clock=clock, account=account)


@contextmanager
def opened_warehouse(workload: Workload) -> Iterator[Warehouse]:
    """The warehouse of the project's target. Raises `WarehouseError`."""
    from dbt_stripe_sync.warehouse import AdapterRequest, open_warehouse  # noqa: PLC0415 - drivers cost where none is used

    options = workload.options
    request = AdapterRequest(
        project_dir=workload.dbt.root,
        profiles_dir=options.profiles_dir,
        profile=options.profile,
        target=options.target,
        variables=options.variables,
    )
    with closing(open_warehouse(workload.dbt.target, project_root=workload.dbt.root, adapter=request)) as warehouse:
        yield warehouse


@asynccontextmanager
async def opened_stripe(workload: Workload, clock: Clock) -> AsyncIterator[Stripe]:
    """Stripe, with the key from the environment. Raises `ConfigError` where the key may not be used here."""
    from dbt_stripe_sync.stripe_api.gateway import open_gateway  # noqa: PLC0415 - imports the SDK

    key = read_key(workload)
    gateway = open_gateway(
        key,
        api_base=workload.stripe_url,
        allowed_bases=workload.settings.allowed_api_bases,
        limits=build_limits(workload.settings, key),
        clock=clock,
    )
    try:
        yield gateway
    finally:
        await gateway.close()


@contextmanager
def opened_state(workload: Workload, account: Account, clock: Clock) -> Iterator[StateStore]:
    """The state of the project's target. Raises `StateError`."""
    from dbt_stripe_sync.state.store import StateIdentity, open_state  # noqa: PLC0415 - only who writes state opens it

    identity = StateIdentity(project=workload.project, account=account.id, livemode=account.livemode)
    wait = workload.options.wait_for_lock
    with open_state(workload.state_path, identity=identity, wait_seconds=wait, clock=clock) as state:
        yield state
