"""Implements `import`: writes products, prices and coupons of an account as seeds of the dbt project, with syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.authoring.account import Account, Naming, referred_first
from dbt_stripe_sync.authoring.files import replace_file
from dbt_stripe_sync.authoring.seeds import build_meta, render_csv, render_yaml
from dbt_stripe_sync.config.sync import parse_syncs
from dbt_stripe_sync.engine.plan.listing import everything
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem, Severity
from dbt_stripe_sync.model.imported import Imported, ImportedSeed
from dbt_stripe_sync.model.nodes import ModelNode
from dbt_stripe_sync.wiring import check_account, opened_stripe
from dbt_stripe_sync.workload import load_bare_workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dbt_stripe_sync.authoring.seeds import Seed
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.imported import ImportOptions
    from dbt_stripe_sync.workload import ProjectOptions, Workload

HEADER = "# Written by `dbt-stripe-sync import`. The file is yours: edit it, and the seeds, as you like."


async def import_account(options: ProjectOptions, wanted: ImportOptions, clock: Clock) -> Imported:
    """Read the account and write its seeds.

    Changes nothing in Stripe. Raises `StripeError`, and `ConfigError` if files or names are taken, before anything is
    written.
    """
    workload = load_bare_workload(options)
    naming = Naming(project=workload.project, prefix=wanted.prefix)
    account = Account(naming, workload.catalog, with_archived=wanted.with_archived)
    seeds: list[Seed] = []
    async with opened_stripe(workload, clock) as stripe:
        owner = await stripe.account()
        check_account(workload, owner)
        for kind in referred_first(wanted.kinds):
            expand = {"expand": [f"data.{name}" for name in kind.expand]} if kind.expand else {}
            resource = workload.catalog.resources[kind.resource]
            bodies = {body["id"]: body async for page in everything(stripe, resource, expand) for body in page}
            seed = account.add(kind, list(bodies.values()))
            seeds += [seed] if seed is not None else []
    folder = workload.dbt.root / workload.dbt.seed_paths[0]
    properties = folder / f"{wanted.prefix}import.yml"
    texts = {folder / f"{seed.name}.csv": "\n".join((*render_csv(seed), "")) for seed in seeds}
    if seeds:
        texts[properties] = render_yaml(seeds, header=HEADER, adapter=str(workload.dbt.target.get("type")))
        _check_names(workload, seeds, properties)
        _check_syncs(workload, seeds)
        if not wanted.is_trial:
            _write(texts, overwrite=wanted.overwrite)
    return Imported(
        seeds=tuple(
            ImportedSeed(
                name=seed.name,
                resource=seed.resource,
                file=folder / f"{seed.name}.csv",
                rows=len(seed.rows),
                columns=len(seed.columns),
            )
            for seed in seeds
        ),
        properties=properties if seeds else None,
        left_out=account.left_out,
        account=owner.id,
    )


def _check_names(workload: Workload, seeds: Sequence[Seed], properties: Path) -> None:
    """Check that dbt would not know two nodes by one name. Raises `ConfigError`."""
    ours = str(properties.relative_to(workload.dbt.root))
    known = {node.name: node for node in workload.manifest.nodes.values() if node.package == workload.project}
    taken = [known[seed.name] for seed in seeds if seed.name in known and known[seed.name].file != ours]
    if taken:
        raise ConfigError(
            Problem(
                code="name-taken",
                summary=f"the project already has a {node.resource_type} named `{node.name}`",
                where=Location(file=node.file, model=node.name),
                hint="give the seeds other names with `--prefix`",
            )
            for node in taken
        )


def _check_syncs(workload: Workload, seeds: Sequence[Seed]) -> None:
    """Check the new syncs together with those of the project. Raises `ConfigError`."""
    names = {seed.name for seed in seeds}
    others = {unique_id: node for unique_id, node in workload.manifest.nodes.items() if node.name not in names}
    written = {f"seed.{workload.project}.{seed.name}": _node(workload, seed) for seed in seeds}
    parsed = parse_syncs({**others, **written}, workload.catalog, project=workload.project)
    problems = [p for p in parsed.problems if p.where.model in names and p.severity is Severity.ERROR]
    if problems:
        raise ConfigError(problems)


def _node(workload: Workload, seed: Seed) -> ModelNode:
    """A seed as dbt will know it."""
    return ModelNode(
        unique_id=f"seed.{workload.project}.{seed.name}",
        name=seed.name,
        package=workload.project,
        resource_type="seed",
        materialized="seed",
        file=f"{seed.name}.csv",
        path=f"{seed.name}.csv",
        fqn=(workload.project, seed.name),
        depends_on=(),
        relation=None,
        sql=None,
        meta={"stripe_sync": build_meta(seed)},
        raw_meta=None,
        columns={},
    )


def _write(texts: Mapping[Path, str], *, overwrite: bool) -> None:
    """Write the files.

    Raises `ConfigError` if one exists with other contents, unless it may be overwritten.
    """
    others = [file for file, text in texts.items() if file.exists() and file.read_bytes() != text.encode()]
    if others and not overwrite:
        raise ConfigError(
            Problem(
                code="file-exists",
                summary="the file already exists, with other contents",
                where=Location(file=str(file)),
                hint="`--force` overwrites it; `--prefix` gives the seeds other names",
            )
            for file in others
        )
    for file, text in texts.items():
        replace_file(file, text)
