"""What a run works on: the syncs of a dbt project, in order, and their sources."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.config.order import in_reference_order
from dbt_stripe_sync.config.salt import SALT_VARIABLE, read_salt
from dbt_stripe_sync.config.settings import Settings, parse_settings
from dbt_stripe_sync.config.state_url import EXAMPLES, find_fault
from dbt_stripe_sync.config.sync import parse_syncs
from dbt_stripe_sync.dbt.gate import Evidence, Gate, find_doubts, find_failed_hooks, judge
from dbt_stripe_sync.dbt.listing import DbtLs
from dbt_stripe_sync.dbt.manifest import Manifest, parse_models, read_manifest
from dbt_stripe_sync.dbt.memory import recall
from dbt_stripe_sync.dbt.misplaced import find_misplaced
from dbt_stripe_sync.dbt.project import Chosen, read_project
from dbt_stripe_sync.dbt.run_results import read_run_results
from dbt_stripe_sync.dbt.selection import Selection, select_syncs
from dbt_stripe_sync.dbt.staleness import find_stale
from dbt_stripe_sync.dbt.targets import built_place, find_other_target
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem, Severity
from dbt_stripe_sync.model.fingerprints import Retention
from dbt_stripe_sync.model.sync import DiffPlace
from dbt_stripe_sync.report.redact import hide_values
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.keys import check_address, check_key, check_live, is_live
from dbt_stripe_sync.stripe_api.rate import DEFAULT_SHARE, RateLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dbt_stripe_sync.dbt.project import DbtProject
    from dbt_stripe_sync.dbt.run_results import RunResults
    from dbt_stripe_sync.model.sync import Sync
    from dbt_stripe_sync.state.place import StatePlace
    from dbt_stripe_sync.stripe_api.catalog import Catalog

    LookFurther = Callable[[DbtProject, Sequence[Sync]], Iterable[Problem]]

MANIFEST = "manifest.json"


class ProjectOptions(Struct, frozen=True, kw_only=True):
    """The options that the commands share: which dbt project, which of its syncs, and how to reach everything.

    They have the names of the command line, except for `variables` (`--vars`) and `dbt_state` (`--state`).
    `wait_for_lock` is in seconds.
    """

    project_dir: Path = Path()
    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None
    target_path: Path | None = None
    variables: str | None = None
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    selector: str | None = None
    allow_empty_selection: bool = False
    dbt_state: Path | None = None
    defer: bool = False
    state_path: Path | None = None
    state_url: str | None = None
    stripe_url: str | None = None
    wait_for_lock: float = 0.0
    ignore_dbt_results: bool = False
    allow_other_target: bool = False

    @property
    def chosen(self) -> Chosen:
        """Options passed through to dbt."""
        return Chosen(
            profiles_dir=self.profiles_dir,
            profile=self.profile,
            target=self.target,
            target_path=self.target_path,
            variables=self.variables,
            state=self.dbt_state,
            defer=self.defer,
        )

    def selection(self, default: str | None) -> Selection:
        """The selected syncs; without a selection, those of the default selector in selectors.yml."""
        named = self.selector if self.selector or self.select or self.exclude else default
        return Selection(
            select=self.select, exclude=self.exclude, selector=named, allow_empty=self.allow_empty_selection
        )


class Workload(Struct, frozen=True, kw_only=True):
    """The syncs of a project in the order of their references, and their sources.

    - `held` gives a reason for each sync whose models dbt failed to build or test.
    - `dependents` has the syncs that refer to each sync, whether they are selected or not.
    - `store_values` says for every sync whether the state keeps its values.
    - `doubts` are warnings about models without dbt results.
    - `other_target` is set if dbt built another target.
    - `known` names all syncs in the project, including disabled ones.
    """

    options: ProjectOptions
    dbt: DbtProject
    manifest: Manifest
    settings: Settings
    catalog: Catalog
    syncs: tuple[Sync, ...]
    held: Mapping[str, str] = field(default_factory=dict)
    dependents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    doubts: tuple[Problem, ...] = ()
    other_target: Problem | None = None
    store_values: Mapping[str, bool] = field(default_factory=dict)
    known: frozenset[str] = frozenset()

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
        """The manifest digest that is stored in a plan."""
        return self.manifest.digest

    @property
    def key(self) -> str:
        """The Stripe key in the environment. Raises `ConfigError` if it is missing or can't be used here."""
        key = check_key(os.environ.get(self.settings.api_key_env), self.settings.api_key_env)
        if is_live(key):
            check_live(
                target=self.target, live_targets=self.settings.live_targets, settings_file=self.dbt.settings_file
            )
        return key

    @property
    def retention(self) -> Retention:
        """The syncs whose values the state keeps. Raises `ConfigError` if the salt is too short."""
        return Retention(
            default=self.settings.store_values,
            by_sync=self.store_values,
            in_path=self._params_in_path,
            redact=hide_values,
            salt=read_salt(os.environ.get(SALT_VARIABLE)),
        )

    def _params_in_path(self, name: str) -> frozenset[str]:
        resource = self.catalog.resource(name)
        return frozenset(param.name for param in resource.params.values() if param.in_path) if resource else frozenset()

    @property
    def address(self) -> str:
        """The address of Stripe. Raises `ConfigError` if a key must not be sent there."""
        named = self.options.stripe_url or os.environ.get("STRIPE_API_BASE") or self.settings.api_base
        return check_address(named, self.settings.allowed_api_bases, settings_file=self.dbt.settings_file)

    def limits(self, *, livemode: bool) -> RateLimits:
        """The rate limits: a share of Stripe's limits, or those in the settings."""
        settings = self.settings
        share = DEFAULT_SHARE if settings.share_free is None else 1 - settings.share_free
        limits = RateLimits.of_account(livemode=livemode, share=share)
        return replace(
            limits,
            account=settings.account_per_second or limits.account,
            endpoint=settings.endpoint_per_second or limits.endpoint,
            concurrency=settings.concurrency or limits.concurrency,
        )

    @property
    def state_path(self) -> Path:
        """The state's file: never under `target/`, which `dbt clean` empties."""
        chosen = self.options.state_path or (Path(self.settings.state_path) if self.settings.state_path else None)
        if chosen is None:
            check_file_name(self.dbt.target_name)
            return self.dbt.root / ".stripe_sync" / f"{self.dbt.target_name}.duckdb"
        return chosen if chosen.is_absolute() or self.options.state_path else self.dbt.root / chosen

    @property
    def state_place(self) -> StatePlace:
        """Where the state is.

        A file named on the command line takes precedence over a URL in the settings. Raises `ConfigError`.
        """
        from dbt_stripe_sync.state.place import RemotePlace, StatePlace

        options = self.options
        if options.state_url is not None and options.state_path is not None:
            raise ConfigError(
                Problem(
                    code="two-states",
                    summary="`--state-url` and `--state-path` name two places for one state",
                    hint="use only one of them; with a URL, `state_path` in the settings sets the location of the "
                    "local copy",
                )
            )
        url = options.state_url
        if url is None and options.state_path is None:
            url = self.settings.state
        if url is None:
            return StatePlace(path=self.state_path, memory_mb=self.settings.memory_mb)
        if (fault := find_fault(url)) is not None:
            raise ConfigError(Problem(code="bad-state-url", summary=f"`--state-url` {fault}", hint=f"write {EXAMPLES}"))
        check_file_name(self.dbt.target_name)
        file = self.state_path
        copy = file.with_name(f"{file.stem}.remote{file.suffix or '.duckdb'}")
        remote = RemotePlace(url=url, target=self.dbt.target_name)
        return StatePlace(path=copy, remote=remote, before=file, memory_mb=self.settings.memory_mb)


def load_bare_workload(options: ProjectOptions) -> Workload:
    """A dbt project without its syncs, for commands that need none: dbt need not have parsed it yet.

    Raises `ConfigError`.
    """
    dbt = read_project(options.project_dir, options.chosen)
    settings, problems = parse_settings(dbt.settings, file=dbt.settings_file)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise ConfigError(problems)
    file = dbt.target_path / MANIFEST
    manifest = read_manifest(file) if file.exists() else Manifest.of_unparsed(dbt.name)
    return Workload(options=options, dbt=dbt, manifest=manifest, settings=settings, catalog=read_catalog(), syncs=())


def load_workload(
    options: ProjectOptions,
    *,
    look_further: LookFurther | None = None,
    may_be_wrong: bool = False,
    left_out: Mapping[str, str] | None = None,
) -> Workload:
    """Discover the syncs of a dbt project.

    Raises `ConfigError` with every problem at once, including those that `look_further` finds in all syncs, as far as
    they could be read. With `may_be_wrong`, syncs with mistakes are left out instead, so that earlier runs can be read.
    `left_out` gives a reason for each model that `run --build` asked for and dbt didn't build: it is held back.
    """
    dbt = read_project(options.project_dir, options.chosen)
    settings, problems = parse_settings(dbt.settings, file=dbt.settings_file)
    manifest = read_manifest(dbt.target_path / MANIFEST)
    catalog = read_catalog()
    parsed = parse_syncs(manifest.nodes, catalog, project=dbt.name)
    last = read_run_results(dbt.target_path / "run_results.json")
    gate = _judge(options, dbt, manifest, last, parsed.syncs, settings)
    # The mistake may already be fixed in a file that dbt hasn't parsed since.
    stale = find_stale(dbt, manifest, last, gate.held)
    problems = (
        *dbt.warnings,
        *problems,
        *_check_log(dbt, settings),
        *_check_diff(dbt, settings, parsed.syncs),
        *parsed.problems,
        *find_misplaced(manifest),
        *stale,
    )
    if may_be_wrong:
        problems = tuple(problem for problem in problems if problem.severity is not Severity.ERROR)
    if any(problem.severity is Severity.ERROR for problem in problems):
        more = look_further(dbt, (*parsed.syncs, *parsed.broken)) if look_further is not None else ()
        raise ConfigError((*problems, *more))
    held = {**({} if options.ignore_dbt_results else left_out or {}), **gate.held}
    ask_dbt = DbtLs(project=dbt, chosen=options.chosen, manifest=manifest)
    selected = select_syncs(parsed.syncs, manifest, dbt.root, options.selection(dbt.default_selector), ask_dbt)
    syncs = in_reference_order(selected.syncs)
    other_target = find_other_target(dbt, manifest, last)
    warnings = [*problems, *find_failed_hooks(last), *selected.warnings, *(() if parsed.syncs else (_no_syncs(),))]
    warnings += [replace(other_target, severity=Severity.WARNING)] if other_target else []
    return Workload(
        options=options,
        dbt=dbt,
        manifest=manifest,
        settings=settings,
        catalog=catalog,
        syncs=syncs,
        dependents={
            sync.name: tuple(other.name for other in parsed.syncs if sync.name in other.depends_on)
            for sync in parsed.syncs
        },
        store_values={
            sync.name: settings.store_values if sync.store_values is None else sync.store_values
            for sync in parsed.syncs
        },
        known=frozenset((*(sync.name for sync in parsed.syncs), *parsed.disabled)),
        held={sync.name: reason for sync in syncs if (reason := _reason_held(sync, held))},
        warnings=tuple(warnings),
        doubts=tuple(find_doubts(gate.of(_models_of(syncs)), manifest)),
        other_target=other_target,
    )


def check_file_name(target: str) -> None:
    """Check that a target's name can be a state file's name. Raises `ConfigError` if it leads to another folder."""
    if target in {"", ".", ".."} or not target.isprintable() or any(char in target for char in "/\\:"):
        raise ConfigError(
            Problem(
                code="bad-target-name",
                summary="the target's name can't be the name of its state's file",
                where=Location(file="profiles.yml"),
                hint="rename the target, or name the file with `state_path` in vars.stripe_sync or `--state-path`",
            )
        )


def _check_log(dbt: DbtProject, settings: Settings) -> tuple[Problem, ...]:
    """Why the log can't be written to the target's warehouse, if the settings ask for one."""
    if settings.log is None:
        return ()
    from dbt_stripe_sync.warehouse.registry import check_log

    problem = check_log(dbt.target)
    return () if problem is None else (_in_settings(problem, dbt),)


def _check_diff(dbt: DbtProject, settings: Settings, syncs: Iterable[Sync]) -> tuple[Problem, ...]:
    """Why the target's warehouse can't compare rows, if a sync or the settings ask for that."""
    asking = [sync for sync in syncs if sync.diff is DiffPlace.WAREHOUSE]
    if settings.diff != DiffPlace.WAREHOUSE.value and not asking:
        return ()
    from dbt_stripe_sync.warehouse.registry import check_diff

    problem = check_diff(dbt.target)
    if problem is None:
        return ()
    is_ours = settings.diff == DiffPlace.WAREHOUSE.value
    return (_in_settings(problem, dbt) if is_ours else replace(problem, where=asking[0].where.at_field("diff")),)


def _in_settings(problem: Problem, dbt: DbtProject) -> Problem:
    return replace(problem, where=replace(problem.where, file=dbt.settings_file))


def _judge(
    options: ProjectOptions,
    dbt: DbtProject,
    manifest: Manifest,
    last: RunResults,
    syncs: Sequence[Sync],
    settings: Settings,
) -> Gate:
    """The judgment of the models by dbt's results, unless those are ignored."""
    known = recall(dbt.root, last, partial(built_place, dbt))
    if options.ignore_dbt_results:
        return Gate()
    evidence = Evidence(manifest=manifest, known=known, last=last, place=dbt.place, target_path=dbt.target_path)
    return judge(evidence, _models_of(syncs), require_results=settings.require_results)


def _models_of(syncs: Iterable[Sync]) -> list[str]:
    return [model.unique_id for sync in syncs for model in sync.models]


def _no_syncs() -> Problem:
    return Problem(
        code="no-syncs",
        summary="no model of this project says `stripe_sync` in its meta, so there is nothing to do",
        where=Location(file="dbt_project.yml"),
        hint="`dbt-stripe-sync init MODEL --resource customer` writes a first one, below `config: meta: stripe_sync:`; "
        "after a change run `dbt parse`",
        severity=Severity.WARNING,
    )


def check_syncs(nodes: Mapping[str, Mapping[str, Any]], project: str) -> None:
    """Check the syncs of a manifest's `nodes`. Raises `ConfigError` with every problem."""
    parsed = parse_syncs(parse_models(nodes, project), read_catalog(), project=project)
    if any(problem.severity is Severity.ERROR for problem in parsed.problems):
        raise ConfigError(parsed.problems)


def load_manifest(options: ProjectOptions) -> tuple[DbtProject, Manifest]:
    """The dbt project and its manifest, without its syncs. Raises `ConfigError`."""
    dbt = read_project(options.project_dir, options.chosen)
    return dbt, read_manifest(dbt.target_path / MANIFEST)


def _reason_held(sync: Sync, held: Mapping[str, str]) -> str | None:
    return next((held[model.unique_id] for model in sync.models if model.unique_id in held), None)
