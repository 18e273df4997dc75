"""Checks what syncs ask of Stripe, and how several syncs fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.config.columns import check_spelling
from dbt_stripe_sync.config.order import find_cycle
from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.counting import counted, with_article
from dbt_stripe_sync.model.lifecycle import Mode, Removal, stays_when_replaced
from dbt_stripe_sync.model.metadata import METADATA_KEYS, METADATA_KEYS_OF_ROW, METADATA_NAME_CHARACTERS
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sync import ChildRows, ListOf, Lookup, Nulls, SyncRef, WhenEnded, WhenReplaced, values_in
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.model.errors import Location
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.params import Param, Resource
    from dbt_stripe_sync.model.sync import FieldMapping, Sync

METADATA = "metadata"


def check_resource(sync: Sync, resource: Resource, lifecycle: Lifecycle, problems: Problems) -> None:
    """Check that the resource can be synced in this mode, with this removal and these matches."""
    if lifecycle.refused is not None:
        problems.add(
            "refused-resource",
            sync.where.at_field("resource"),
            f"`{resource.name}` can't be synced: {lifecycle.refused}",
            "`dbt-stripe-sync fields` lists what can be synced",
        )
        return
    if sync.mode not in lifecycle.modes:
        problems.add(
            "mode-not-allowed",
            sync.where.at_field("mode"),
            f"{with_article(resource.name)} can't be synced by `{sync.mode.value}`",
            f"use {listed(mode.value for mode in Mode if mode in lifecycle.modes)}",
        )
    if sync.on_removed is not Removal.IGNORE and sync.on_removed not in lifecycle.on_removed:
        allowed = [Removal.IGNORE.value, *(removal.value for removal in lifecycle.on_removed)]
        problems.add(
            "removal-not-allowed",
            sync.where.at_field("on_removed"),
            f"Stripe can't {sync.on_removed.value.replace('_', ' ')} {with_article(resource.name)}",
            f"use {listed(allowed)}",
        )
    if sync.refresh_every is not None and not resource.operations.keys() & {"retrieve", "list"}:
        problems.add(
            "not-readable",
            sync.where.at_field("refresh_every"),
            f"{with_article(resource.name)} can't be read back from Stripe",
            "remove `refresh_every`",
        )
    if sync.when_ended is WhenEnded.RESTART and not lifecycle.ended:
        problems.add(
            "restart-not-allowed",
            sync.where.at_field("when_ended"),
            f"once {with_article(resource.name)} has ended, a new one can't replace it",
            "remove `when_ended`; a new key creates a new object",
        )
    for match in sync.match:
        _check_findable(resource, match.by, sync.where.at_field("match"), problems)
    _check_options(sync, resource, lifecycle, problems)


def _check_options(sync: Sync, resource: Resource, lifecycle: Lifecycle, problems: Problems) -> None:
    known = lifecycle.options
    for name, value in sync.options.items():
        where = sync.where.at_field("options", name)
        if name not in known:
            hint = (
                f"{did_you_mean(name, known)}it takes {listed(known)}"
                if known
                else f"remove it: {with_article(resource.name)} has no options"
            )
            problems.add("unknown-option", where, f"{with_article(resource.name)} has no option `{name}`", hint)
        elif not isinstance(value, bool):
            problems.add("bad-option", where, f"`{name}` is neither true nor false", "write `true`, or remove it")


def _check_findable(resource: Resource, by: str, where: Location, problems: Problems) -> None:
    lifecycle = resource.lifecycle
    found_by = [f"{found}.<name>" if found == METADATA else found for found in lifecycle.found_by]
    if not lifecycle.listed and by != "id":
        problems.add(
            "match-not-possible",
            where,
            f"{with_article(resource.name)} can't be matched by `{by}`: "
            "Stripe lists them only under the object that they belong to",
            "match by `id`" if "id" in lifecycle.found_by else "every row creates a new object",
        )
        return
    first, _, rest = by.partition(".")
    if first not in lifecycle.found_by or (first == METADATA) != bool(rest):
        problems.add(
            "match-not-possible",
            where,
            f"{with_article(resource.name)} can't be matched by `{by}`",
            f"{did_you_mean(by, found_by)}match by {listed(found_by)}"
            if found_by
            else "remove it: nothing can match it",
        )


def check_fields(sync: Sync, resource: Resource, problems: Problems) -> None:
    """Check that what creation requires is mapped, that updates accept what is mapped, and that nulls can clear it."""
    if sync.mode is Mode.UPDATE:
        _check_changeable(sync, resource, problems)
    else:
        purpose = f"to create {with_article(resource.name)}"
        _check_required(sync.fields, resource.params, purpose, sync.where.at_field("fields"), problems)
        _check_one_of(sync, resource, problems)
    for field in sync.fields:
        param = resource.param(field.path)
        inside_map = field.path[0] == METADATA
        if field.nulls is Nulls.CLEAR and param is not None and not param.clearable and not inside_map:
            problems.add(
                "not-clearable",
                field.where,
                f"Stripe can't clear `{'.'.join(field.path)}` of {with_article(resource.name)}",
                "remove `nulls: clear`; then a row that becomes null is rejected, or left alone by `nulls: ignore`",
            )
    _check_metadata(sync, problems)


def _check_one_of(sync: Sync, resource: Resource, problems: Problems) -> None:
    """Check that each group of parameters of which Stripe requires one has a mapping."""
    mapped = {field.path[0] for field in sync.fields}
    for group in resource.lifecycle.needs_one_of:
        known = [name for name in group if name in resource.params]
        places = tuple(sync.where.at_field("fields", name).field for name in known)
        if known and mapped.isdisjoint(known) and not any(_is_wrong(place, sync, problems) for place in places):
            names = " or ".join(f"`{name}`" for name in known)
            lacking = {1: "does not map it", 2: "maps neither"}.get(len(known), "maps none of them")
            problems.add(
                "missing-one-of",
                sync.where.at_field("fields"),
                f"Stripe requires {names} to create {with_article(resource.name)}, and the sync {lacking}",
                _how_to_map(resource.params[known[0]]),
            )


def _how_to_map(param: Param) -> str:
    if param.kind is ParamKind.LIST and param.item is not None and param.item.kind is ParamKind.HASH:
        return f"add `{param.name}:` with child rows (`model`, `on` and `fields`), or with a list of hashes"
    return f"add `{param.name}: <column>`"


def _is_wrong(place: str | None, sync: Sync, problems: Problems) -> bool:
    """Whether a location already has a problem, so that reporting it as missing would add nothing."""
    found = (problem.where for problem in problems.found if problem.where.model == sync.where.model)
    return any(f"{where.field}.".startswith(f"{place}.") for where in found)


def _check_changeable(sync: Sync, resource: Resource, problems: Problems) -> None:
    for field in sync.fields:
        if resource.params[field.path[0]].in_path or field.path == ("id",):
            continue
        paths = (field.path[: end + 1] for end in range(len(field.path)))
        fixed = next((path for path in paths if (param := resource.param(path)) and param.immutable), None)
        if fixed is not None:
            problems.add(
                "immutable-parameter",
                field.where,
                f"`{'.'.join(fixed)}` is fixed once {with_article(resource.name)} exists, "
                "and the sync's mode is `update`",
                "remove the field, or use `mode: upsert`",
            )


def _check_required(
    fields: Sequence[FieldMapping], params: Mapping[str, Param], purpose: str, where: Location, problems: Problems
) -> None:
    """Check that a mapped hash has its required parts, at any depth."""
    for param in params.values():
        if param.required and param.creatable and not any(field.path[0] == param.name for field in fields):
            problems.add(
                "missing-parameter",
                where,
                f"`{param.name}` is not mapped, and Stripe requires it {purpose}",
                f"add `{param.name}: <column>`",
            )
    for field in fields:
        param_here = params.get(field.path[0])
        if param_here is not None and len(field.path) == 1:
            _check_items(field, param_here, problems)
    for hash_name in dict.fromkeys(field.path[0] for field in fields if len(field.path) > 1):
        param_here = params.get(hash_name)
        if param_here is not None and param_here.kind is ParamKind.HASH and param_here.fields:
            parts = [_below(field) for field in fields if field.path[0] == hash_name and len(field.path) > 1]
            at = where.at_field(hash_name)
            _check_required(parts, param_here.fields, f"in `{hash_name}`", at, problems)


def _below(field: FieldMapping) -> FieldMapping:
    return type(field)(path=field.path[1:], value=field.value, nulls=field.nulls, where=field.where)


def _check_items(field: FieldMapping, param: Param, problems: Problems) -> None:
    if param.item is None or not param.item.fields:
        return
    purpose = f"in each of `{param.name}`"
    if isinstance(field.value, ChildRows):
        _check_required(field.value.fields, param.item.fields, purpose, field.where.at_field("fields"), problems)
    elif isinstance(field.value, ListOf):
        for index, item in enumerate(field.value.items):
            if isinstance(item, tuple):
                _check_required(item, param.item.fields, purpose, field.where.at_field(str(index)), problems)


def _check_metadata(sync: Sync, problems: Problems) -> None:
    named = [field for field in sync.fields if field.path[0] == METADATA and len(field.path) > 1]
    for field in named:
        key = ".".join(field.path[1:])
        if key in {TAG, FORMER_TAG}:
            problems.add(
                "reserved-metadata",
                field.where,
                f"`metadata.{key}` is reserved for the tag of dbt-stripe-sync",
                "choose another key",
            )
        elif len(key) > METADATA_NAME_CHARACTERS:
            problems.add(
                "metadata-name-too-long",
                field.where,
                f"the metadata key has {len(key)} characters, Stripe accepts {METADATA_NAME_CHARACTERS}",
                "use a shorter key",
            )
    if len(named) > METADATA_KEYS_OF_ROW:
        problems.add(
            "metadata-too-many-keys",
            sync.where.at_field("fields", METADATA),
            f"metadata has {len(named)} keys, Stripe accepts {METADATA_KEYS}, and one is the `dbt_stripe_sync` tag",
            "map fewer keys, or put several into one",
        )


def check_together(
    well_formed: Sequence[Sync], broken: Sequence[Sync], resources: Mapping[str, Resource], problems: Problems
) -> None:
    """Check for duplicate names, unknown references and cycles.

    `broken` has the syncs with mistakes, as far as they could be read.
    """
    by_name: dict[str, Sync] = {}
    syncs = (*well_formed, *broken)
    for sync in syncs:
        check_spelling(sync, problems)
    unnamed = {(problem.where.model, problem.where.field) for problem in problems.found if problem.code == "no-name"}
    for sync in syncs:
        other = by_name.setdefault(sync.name, sync)
        if other is not sync and unnamed.isdisjoint((one.where.model, one.where.field) for one in (sync, other)):
            problems.add(
                "duplicate-sync",
                sync.where,
                f"the model `{other.model.label}`{_file_of(other, sync)} already has a sync named `{sync.name}`",
                _duplicate_name_hint(sync, other),
            )
    for sync in syncs:
        for reference, where in references_in(sync.fields):
            if isinstance(reference, SyncRef):
                _check_reference(sync, reference, where, by_name, resources, problems)
            else:
                _check_findable(resources[reference.resource], reference.by, where.at_field("by"), problems)
        for name in sync.after:
            if name not in by_name:
                hint = f"{did_you_mean(name, by_name)}choose from {listed(sorted(by_name))}"
                where = sync.where.at_field("after")
                problems.add("unknown-sync", where, f"`after` of `{sync.name}` names the unknown sync `{name}`", hint)
    cycle = find_cycle(well_formed)
    if cycle:
        problems.add(
            "reference-cycle",
            by_name[cycle[0]].where,
            f"these syncs refer to each other in a cycle: {' -> '.join(cycle)}",
            "Stripe needs one of the objects first: remove one of the references",
        )


def _file_of(other: Sync, sync: Sync) -> str:
    """The other sync's file, if a model of the same name in another package has it."""
    is_namesake = other.model.label == sync.model.label and other.where.file != sync.where.file
    return f" in `{other.where.file}`" if is_namesake else ""


def _duplicate_name_hint(sync: Sync, other: Sync) -> str:
    model = sync.model
    if model.version is None or (model.package, model.name) != (other.model.package, other.model.name):
        return "give one of them another `name:`"
    return (
        f"keep the block of only one version, below `versions: - v: {model.latest_version}: config: meta:`, or give "
        "one of them another `name:`"
    )


def _check_reference(
    sync: Sync,
    reference: SyncRef,
    where: Location,
    by_name: Mapping[str, Sync],
    resources: Mapping[str, Resource],
    problems: Problems,
) -> None:
    other = by_name.get(reference.sync)
    if other is None:
        hint = f"{did_you_mean(reference.sync, by_name)}choose from {listed(sorted(by_name))}"
        problems.add("unknown-sync", where, f"`{sync.name}` refers to the unknown sync `{reference.sync}`", hint)
    elif not other.key or not reference.columns or other.resource not in resources:
        pass  # its problems are reported at its own location
    elif len(other.key) != len(reference.columns):
        problems.add(
            "reference-key",
            where.at_field("key"),
            f"the reference has {counted(len(reference.columns), 'column')}, `{other.name}`'s key {len(other.key)}",
            f"name a column of this model for each of {listed(other.key)}",
        )
    elif reference.when_replaced is WhenReplaced.KEEP and not stays_when_replaced(lifecycle_of(other.resource)):
        problems.add(
            "nothing-to-keep",
            where.at_field("when_replaced"),
            f"`{other.name}` never keeps an old {other.resource} in use after it is replaced",
            "remove `when_replaced`; it is for objects that remain after they are replaced, such as prices",
        )


def references_in(fields: Iterable[FieldMapping]) -> Iterator[tuple[SyncRef | Lookup, Location]]:
    """Every reference to another object in some fields, at any depth, with its location."""
    for value, where in values_in(fields):
        if isinstance(value, SyncRef | Lookup):
            yield value, where
        elif isinstance(value, ChildRows):
            yield from references_in(value.fields)
