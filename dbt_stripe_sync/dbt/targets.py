"""Checks that dbt built the synced target, since another target's tables must not be mistaken for this one's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.dbt.nodes import read_part
from dbt_stripe_sync.dbt.places import Place
from dbt_stripe_sync.model.errors import Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.nodes import GraphNode
    from dbt_stripe_sync.dbt.project import DbtProject
    from dbt_stripe_sync.dbt.run_results import RunResults

_BUILT = frozenset({"model", "seed", "snapshot"})


class _Schema(Struct):
    """How a node asks for another location than its target's."""

    schema: str | None = None
    database: str | None = None
    target_schema: str | None = None


def find_other_target(project: DbtProject, manifest: Manifest, results: RunResults) -> Problem | None:
    """Evidence that the manifest belongs to another target than the project's, or None."""
    ours = project.place
    is_of_manifest = bool(results.invocation_id) and results.invocation_id == manifest.invocation_id
    theirs = built_place(project, results) if is_of_manifest else None
    if theirs is not None and results.target is not None:
        if theirs.target == ours.target or (theirs.is_named_like(ours) and theirs.identity == ours.identity):
            return None
        return _contradiction(project, str(theirs), theirs.target, ours)
    problem = _judge_by_relations(project, manifest, ours)
    if problem is None and theirs is not None and theirs.is_named_like(ours) and theirs.identity != ours.identity:
        # The names also fit the default target, and that one is on another server.
        return _contradiction(project, str(theirs), theirs.target, ours)
    return problem


def built_place(project: DbtProject, results: RunResults) -> Place | None:
    """Where a dbt command has built, from the target that it was given, or from the profile's default.

    None for a target that this profile lacks, such as dbt Cloud's own, which can't be compared by name. None if dbt 2
    hasn't recorded the target, which may be any.
    """
    if results.profile not in {None, project.profile}:
        return None
    if results.target is None and results.dbt_version.startswith("2."):
        return None
    name = results.target or project.default_target
    return next((place for place in project.places if place.target == name), None)


def _judge_by_relations(project: DbtProject, manifest: Manifest, ours: Place) -> Problem | None:
    """Compare the schemas of what dbt built, since dbt doesn't record a default target.

    A project can name its schemas with its own macro. Then only a schema that fits another target, and not this one, is
    a contradiction.
    """
    nodes = [node for node in manifest.graph.values() if node.resource_type in _BUILT and node.relation_name]
    rules = _Rules(
        schemas=_is_overridden(manifest, "generate_schema_name"),
        databases=_is_overridden(manifest, "generate_database_name"),
    )
    free = [node for node in nodes if not _is_fixed(node)]
    if ours.schema is None or not free or any(rules.explain(node, ours) for node in free):
        return None
    others = [place for place in project.places if place.target != ours.target and not place.is_named_like(ours)]
    theirs = next((place for place in others if any(rules.explain(node, place) for node in free)), None)
    theirs = theirs or rules.place_by_database(free, ours, others)
    if theirs is not None:
        return _contradiction(project, str(theirs), theirs.target, ours)
    if rules.schemas or any(rules.explain(node, Place(target="", database=None, schema=ours.schema)) for node in free):
        return None
    return _contradiction(project, f"the schema {_listed(node.schema for node in free)}", None, ours)


class _Rules(Struct, frozen=True):
    """How dbt names schemas and databases; true if the project has its own macro for it."""

    schemas: bool
    databases: bool

    def explain(self, node: GraphNode, place: Place) -> bool:
        """Whether a node can have been built at a location."""
        asked = read_part(node.config, _Schema) or _Schema()
        if place.schema is None or node.schema is None:
            return False
        # docs.getdbt.com/docs/build/custom-schemas; a macro often leaves the custom part out for development.
        schemas = {f"{place.schema}_{asked.schema}"} if asked.schema else {place.schema}
        if self.schemas:
            schemas.add(place.schema)
        if node.schema.casefold() not in {schema.casefold() for schema in schemas}:
            return False
        knows_databases = node.database and place.database and not asked.database and not self.databases
        return not knows_databases or str(node.database).casefold() == str(place.database).casefold()

    def place_by_database(self, nodes: Sequence[GraphNode], ours: Place, others: Sequence[Place]) -> Place | None:
        """The other target in whose database all nodes were built, if the schemas fit neither target."""
        if self.databases or ours.database is None:
            return None
        asked = ((node.database, (read_part(node.config, _Schema) or _Schema()).database) for node in nodes)
        built = {str(database).casefold() for database, custom in asked if database and not custom}
        if len(built) != 1 or ours.database.casefold() in built:
            return None
        return next((place for place in others if place.database and place.database.casefold() in built), None)


def _is_fixed(node: GraphNode) -> bool:
    """Whether a snapshot names its schema itself, which is then the same in every target."""
    asked = read_part(node.config, _Schema)
    return asked is not None and asked.target_schema is not None


def _is_overridden(manifest: Manifest, macro: str) -> bool:
    """Whether the project, or one of its packages, has its own macro."""
    return any(name.endswith(macro) and name.split(".")[1] != "dbt" for name in manifest.macros)


def _listed(schemas: Iterable[str | None]) -> str:
    names: Sequence[str] = sorted({schema for schema in schemas if schema})
    return ", ".join(f"`{name}`" for name in names[:3])


def _contradiction(project: DbtProject, built: str, target: str | None, ours: Place) -> Problem:
    sync = f", or sync with `--target {target}`" if target else ""
    return Problem(
        code="other-target",
        summary=f"dbt has built {built}, and this is {ours}",
        where=Location(file=str(project.target_path / "manifest.json")),
        hint=f"run `dbt build --target {ours.target}` first{sync}; `--allow-other-target` reads what was built",
    )
