"""Parses `stripe_sync` meta into `Sync`, checked against the catalog, and reports every problem at once."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.config.back_references import split_back_references
from dbt_stripe_sync.config.checks import check_fields, check_resource, check_together, references_in
from dbt_stripe_sync.config.early_words import check_early_words
from dbt_stripe_sync.config.limits import parse_limits
from dbt_stripe_sync.config.mapping import check_twice, parse_fields
from dbt_stripe_sync.config.meta import BLOCK, read_blocks
from dbt_stripe_sync.config.problems import Problems
from dbt_stripe_sync.config.suggest import closest, did_you_mean, listed
from dbt_stripe_sync.config.unknown_params import params_for
from dbt_stripe_sync.config.values import MappingContext, are_names, parse_nulls
from dbt_stripe_sync.config.versions import models_by_name, without_inherited
from dbt_stripe_sync.model.lifecycle import Mode, Removal
from dbt_stripe_sync.model.nested import map_leaves
from dbt_stripe_sync.model.sync import (
    Column,
    DiffPlace,
    FieldMapping,
    ItemsOwned,
    Match,
    MatchEmail,
    Nulls,
    OnAmbiguous,
    OnDeleted,
    OnDrift,
    Sync,
    SyncRef,
    WhenEnded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from enum import Enum

    from dbt_stripe_sync.config.meta import Block
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.nodes import ModelNode
    from dbt_stripe_sync.model.sync import Value
    from dbt_stripe_sync.stripe_api.catalog import Catalog, Resource

KEYS = (
    "name",
    "resource",
    "key",
    "mode",
    "match",
    "match_email",
    "fields",
    "on_removed",
    "on_ambiguous",
    "on_drift",
    "on_deleted",
    "when_ended",
    "refresh_every",
    "items_owned",
    "limits",
    "nulls",
    "after",
    "options",
    "store_values",
    "diff",
    "history",
    "enabled",
)
_INTERVAL = re.compile(r"(\d{1,6}) ?([mhdw])")
_INTERVAL_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MOST_NAME = 100
_NAME = re.compile(rf"[\w.-]{{1,{MOST_NAME}}}")
WHAT_CAN_BE = "`dbt-stripe-sync fields` lists what can be synced"


class ParsedConfig(Struct, frozen=True, kw_only=True):
    """The valid syncs, and every problem of the others.

    `broken` are those others as far as they could be read, so that missing columns can still be found.
    """

    syncs: tuple[Sync, ...]
    broken: tuple[Sync, ...] = ()
    disabled: tuple[str, ...] = ()
    problems: tuple[Problem, ...]


def parse_syncs(nodes: Mapping[str, ModelNode], catalog: Catalog, *, project: str) -> ParsedConfig:
    """Every sync that the models' meta describes."""
    problems = Problems()
    models = models_by_name(nodes.values(), project)
    syncs: list[Sync] = []
    broken: list[Sync] = []
    disabled: list[str] = []
    for node in without_inherited(nodes.values(), BLOCK):
        for block in read_blocks(node, problems):
            if block.raw.get("enabled", True) is False:
                disabled.append(block.where.sync or node.name)
                continue
            before = len(problems.found)
            sync = _Parser(block, catalog, models, problems).parse(project)
            (syncs if len(problems.found) == before else broken).append(sync)
    syncs = list(split_back_references(syncs, catalog))
    check_together(syncs, broken, catalog.resources, problems)
    return ParsedConfig(
        syncs=tuple(syncs), broken=tuple(broken), disabled=tuple(disabled), problems=tuple(problems.found)
    )


class _Parser(Struct):
    """Reads one block."""

    block: Block
    catalog: Catalog
    models: Mapping[str, ModelNode]
    problems: Problems

    def parse(self, project: str) -> Sync:
        """The sync, as far as it can be read. Each problem is added, and reading continues."""
        raw, where = self.block.raw, self.block.where
        self._check_keys()
        self._check_name()
        resource = self._resource()
        key = self._key()
        # A resource that can only be inserted doesn't need a mode.
        is_insert_only = resource is not None and Mode.UPSERT not in resource.lifecycle.modes
        mode = self._choice("mode", Mode, Mode.INSERT if is_insert_only else Mode.UPSERT)
        on_removed = self._choice("on_removed", Removal, Removal.IGNORE)
        context = MappingContext(catalog=self.catalog, models=self.models, key=key, problems=self.problems)
        fields = self._fields(resource, context)
        after = self._after()
        sync = Sync(
            name=str(raw.get("name") or self.block.model.name),
            project=project,
            model=self._rows(),
            resource=resource.name if resource is not None else str(raw.get("resource")),
            key=key,
            mode=mode,
            match=tuple(self._matches(fields, key, resource)),
            fields=fields,
            on_removed=on_removed,
            on_ambiguous=self._choice("on_ambiguous", OnAmbiguous, OnAmbiguous.REJECT),
            match_email=self._choice("match_email", MatchEmail, MatchEmail.EXACT),
            on_drift=self._choice("on_drift", OnDrift, OnDrift.REPORT),
            on_deleted=self._choice("on_deleted", OnDeleted, OnDeleted.REJECT),
            when_ended=self._choice("when_ended", WhenEnded, WhenEnded.KEEP),
            refresh_every=self._interval("refresh_every"),
            limits=parse_limits(self.block.raw.get("limits") or {}, self.block.where.at_field("limits"), self.problems),
            depends_on=tuple(dict.fromkeys([*_synced(fields), *after])),
            options=self._options(),
            fingerprint=_fingerprint(raw, self.block.columns, resource.name if resource is not None else ""),
            where=where,
            after=after,
            store_values=self._switch("store_values"),
            diff=self._choice("diff", DiffPlace, None),
            items_owned=self._choice("items_owned", ItemsOwned, ItemsOwned.OURS),
        )
        if resource is not None:
            # Unknown parameters are reported already, and don't affect the others.
            known = replace(sync, fields=tuple(field for field in fields if resource.param(field.path) is not None))
            check_resource(known, resource, resource.lifecycle, self.problems)
            check_fields(known, resource, self.problems)
            check_early_words(known, resource, self.problems)
        return sync

    def _check_keys(self) -> None:
        for name in self.block.raw:
            if name not in KEYS:
                self.problems.add(
                    "unknown-key",
                    self.block.where.at_field(str(name)),
                    f"`stripe_sync` has no setting `{name}`",
                    f"{did_you_mean(str(name), KEYS)}it takes {listed(KEYS, most=len(KEYS))}",
                )
        if not self.block.is_named:
            self.problems.add(
                "no-name",
                self.block.where,
                f"`{self.block.model.label}` has several syncs, and this one has no name",
                "add `name:` to each of them",
            )

    def _check_name(self) -> None:
        name = self.block.where.sync or ""
        if not _NAME.fullmatch(name):
            self.problems.add(
                "bad-name",
                self.block.where.at_field("name"),
                f"a sync can't be called `{name}`",
                f"set `name` to at most {MOST_NAME} letters, digits, `_`, `-` and `.`; it becomes part of each "
                "object's metadata",
            )

    def _resource(self) -> Resource | None:
        name = self.block.raw.get("resource")
        where = self.block.where.at_field("resource")
        if not name:
            self.problems.add(
                "no-resource",
                where,
                "the sync has no Stripe resource",
                "add `resource: customer`, or what the rows are",
            )
            return None
        resource = self.catalog.resource(str(name))
        if resource is None and (reason := self.catalog.why_not(str(name))) is not None:
            self.problems.add("refused-resource", where, f"`{name}` can't be synced: {reason}", WHAT_CAN_BE)
            return None
        if resource is None:
            close = self.catalog.suggest(str(name))
            hint = f"did you mean `{close}`? `dbt-stripe-sync fields` lists them all" if close else None
            self.problems.add(
                "unknown-resource",
                where,
                f"unknown Stripe resource `{name}`",
                hint or "`dbt-stripe-sync fields` lists them all",
            )
            likely = closest(str(name), self.catalog.names())
            return self.catalog.resource(likely) if likely is not None else None
        return resource

    def _key(self) -> tuple[str, ...]:
        raw = self.block.raw.get("key")
        key = tuple(str(column) for column in raw) if isinstance(raw, list) else (str(raw),) if raw else ()
        if not are_names(raw):
            key = ()
            self.problems.add(
                "no-key",
                self.block.where.at_field("key"),
                "the sync's key is not a column, nor a list of columns",
                "name the column, or the list of columns, that is unique in the model",
            )
        elif not key:
            self.problems.add(
                "no-key",
                self.block.where.at_field("key"),
                "the sync has no key, so its rows can't be identified",
                "add `key:` with the column, or the list of columns, that is unique in the model",
            )
        return key

    def _fields(self, resource: Resource | None, context: MappingContext) -> tuple[FieldMapping, ...]:
        where = self.block.where.at_field("fields")
        raw = self.block.raw.get("fields") or {}
        if not raw and not self.block.columns:
            self.problems.add("no-fields", where, "the sync maps no fields", "add `fields:` with `parameter: column`")
        params = resource.params if resource is not None else params_for(raw)
        fields = parse_fields(raw, params, context, where)
        for column, named in self.block.columns:
            at = replace(self.block.where, field=f"columns.{column}.meta")
            params = resource.params if resource is not None else params_for({named: column})
            added = parse_fields({named: column}, params, context, at)
            if fields and added:
                check_twice((*fields, *added), self.problems)
            fields += added
        default = self.block.raw.get("nulls")
        if default is None:
            return fields
        nulls = parse_nulls(default, self.block.where.at_field("nulls"), self.problems)
        return tuple(replace(field, nulls=nulls) if field.nulls is Nulls.DEFAULT else field for field in fields)

    def _matches(
        self, fields: Iterable[FieldMapping], key: tuple[str, ...], resource: Resource | None
    ) -> Iterator[Match]:
        if resource is None:
            return  # the field that finds an object is unknown
        lifecycle = resource.lifecycle
        raw = self.block.raw.get("match") or []
        by_path = {".".join(field.path): field.value for field in fields}
        paths = dict.fromkeys([*by_path, *(f"metadata.{column}" for column in key)])
        possible = [path for path in paths if path.split(".")[0] in lifecycle.found_by]
        for entry in raw if isinstance(raw, list) else [raw]:
            by = str(entry)
            value: Value | None = by_path.get(by)
            if value is None and by.startswith("metadata.") and by.removeprefix("metadata.") in key:
                value = Column(name=by.removeprefix("metadata."))
            if value is None and by == "id" and len(key) == 1:
                value = Column(name=key[0])
            if value is None and by in key and by in lifecycle.found_by:
                # Values that Stripe assigns, such as a quote's number, can't be fields, but the key can match them.
                value = Column(name=by)
            if value is None:
                self.problems.add(
                    "unmatched-field",
                    self.block.where.at_field("match"),
                    f"`{by}` is not a field of this sync, so rows can't be matched by it",
                    f"map `{by}` under `fields`, or match by one of {listed(possible)}",
                )
                continue
            yield Match(by=by, value=value)

    def _choice(self, name: str, choices: type[Any], default: Any) -> Any:
        raw = self.block.raw.get(name)
        if raw is None:
            return default
        # YAML 1.1 reads `on`, `off` and the like as booleans, but the word is meant.
        known: dict[str, Enum] = {choice.value: choice for choice in choices}
        if str(raw) not in known:
            self.problems.add(
                f"unknown-{name.replace('_', '-')}",
                self.block.where.at_field(name),
                f"`{name}` can't be `{raw}`",
                f"{did_you_mean(str(raw), known)}it is one of {listed(known)}",
            )
        return known.get(str(raw), default)

    def _after(self) -> tuple[str, ...]:
        raw = self.block.raw.get("after") or []
        return tuple(str(name) for name in (raw if isinstance(raw, list) else [raw]))

    def _switch(self, name: str) -> bool | None:
        raw = self.block.raw.get(name)
        if raw is None or isinstance(raw, bool):
            return raw
        where = self.block.where.at_field(name)
        self.problems.add("bad-option", where, f"`{name}` is neither true nor false", "write `true` or `false`")
        return None

    def _interval(self, name: str) -> timedelta | None:
        raw = self.block.raw.get(name)
        if raw is None:
            return None
        found = _INTERVAL.fullmatch(str(raw).strip())
        if found is not None and int(found[1]) > 0:
            return timedelta(**{_INTERVAL_UNITS[found[2]]: int(found[1])})
        self.problems.add(
            "bad-interval",
            self.block.where.at_field(name),
            f"`{name}` is not an interval",
            "write a number with `m`, `h`, `d` or `w`, such as `12h` or `7d`",
        )
        return None

    def _rows(self) -> ModelNode:
        """The source of the model's rows, with a snapshot's history only on request."""
        model, history = self.block.model, self._switch("history")
        if history is not None and model.resource_type != "snapshot":
            self.problems.add(
                "not-a-snapshot",
                self.block.where.at_field("history"),
                f"`history` is for snapshots, and `{model.label}` is a {model.resource_type}",
                "remove it; every row of the model is synced",
            )
        return model.with_history() if history else model

    def _options(self) -> Mapping[str, Any]:
        raw = self.block.raw.get("options") or {}
        where = self.block.where.at_field("options")
        if not isinstance(raw, dict):
            self.problems.add("not-a-mapping", where, "`options` is not a YAML mapping", "write `option: value`")
            return {}
        return raw


def _synced(fields: Iterable[FieldMapping]) -> Iterator[str]:
    """The syncs whose objects the fields refer to."""
    return (ref.sync for ref, _ in references_in(fields) if isinstance(ref, SyncRef))


def _fingerprint(raw: Mapping[str, Any], columns: Iterable[tuple[str, str]], resource: str) -> str:
    """A fingerprint that changes whenever the resulting parameters can change; limits and removals don't affect it."""
    matters = {
        "resource": resource,
        "key": raw.get("key"),
        "fields": raw.get("fields"),
        "nulls": raw.get("nulls"),
        "options": raw.get("options"),
        "columns": list(columns),
    }
    return sha256(json.dumps(map_leaves(matters, _plain, str), sort_keys=True).encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | bool | int) else str(value)
