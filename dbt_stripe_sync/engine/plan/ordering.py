"""What ties the changes of rows together: values that only one object has, and replacements that others follow.

Both are known once every sync is planned. A row that takes a value waits for the one that gives it up. A row that can't
have it, or whose dependents can't follow it, is withheld from the plan, and with it all that depends on it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dbt_stripe_sync.engine.decide.replace import end_first
from dbt_stripe_sync.model.change import Action, Change, row_of
from dbt_stripe_sync.model.errors import Location, Problem
from dbt_stripe_sync.model.sql import literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.plan.settling import Settling
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.difference import RowDiff
    from dbt_stripe_sync.model.lifecycle import Unique
    from dbt_stripe_sync.model.params import Catalog, Resource

_CLAIMS = pa.schema(
    [(name, pa.string()) for name in ("resource", "parameter", "value", "sync", "key", "change_id")]
    + [("takes", pa.bool_()), ("late", pa.bool_())]
)


@dataclass(slots=True, kw_only=True)
class Order:
    """What a plan's changes need of each other.

    `after` has the changes that come before each one, `end_first` the replacements whose old object has to end before
    the new one is made, `withheld` why a change can't be part of the plan.
    """

    after: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    end_first: set[str] = field(default_factory=set)
    withheld: dict[str, Problem] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.after or self.withheld)

    @property
    def first(self) -> frozenset[str]:
        """The changes that others wait for: they come first in their lane, so that none waits for one behind it."""
        return frozenset(other for others in self.after.values() for other in others)

    def apply_to(self, change: Change) -> Iterator[Change]:
        """A change as it is part of the plan: after those that come before it, as two, or not at all."""
        if change.id.removesuffix("!end") in self.withheld:
            return
        for part in end_first(change) if change.id in self.end_first else (change,):
            others = self.after.get(part.id, ())
            yield replace(part, depends_on=tuple(dict.fromkeys((*part.depends_on, *others)))) if others else part

    def withhold_dependents(self, change: Change) -> bool:
        """Withhold a change that depends on one that is withheld, and say whether it is. Parents have to come first."""
        if change.id.removesuffix("!end") in self.withheld:
            return True
        parent = next((other for other in change.depends_on if other in self.withheld), None)
        if parent is None:
            return False
        sync, key = row_of(parent)
        self.withheld[change.id] = Problem(
            code="dependency-withheld",
            summary=f"row [{key}] of `{sync}`, which it refers to, can't be changed in this plan",
            where=Location(sync=change.sync, key=change.key),
            hint=f"fix what is said of row [{key}] of `{sync}` first",
        )
        return True


class Uniques:
    """Which changes take, and which give up, the values that only one object of a resource has."""

    def __init__(self, workspace: Workspace, catalog: Catalog) -> None:
        self._workspace = workspace
        self._catalog = catalog
        workspace.execute(
            "CREATE OR REPLACE TABLE work.claims(resource VARCHAR, parameter VARCHAR, value VARCHAR, sync VARCHAR, "
            "key VARCHAR, change_id VARCHAR, takes BOOLEAN, late BOOLEAN)"
        )

    def note(self, resource: Resource, sync: str, pairs: Sequence[tuple[RowDiff, Sequence[Change]]]) -> None:
        """Note what the changes of some rows do with such values. A row that left the model may have no change."""
        rows = [
            (resource.name, unique.parameter, value, sync, diff.key, change, takes, late)
            for unique in resource.lifecycle.uniques
            for diff, changes in pairs
            for value, change, takes, late in _claims(unique, diff, changes)
        ]
        if rows:
            columns = [pa.array(column, f.type) for column, f in zip(zip(*rows, strict=True), _CLAIMS, strict=True)]
            table = pa.table(columns, schema=_CLAIMS)
            self._workspace.fill("INSERT INTO work.claims SELECT * FROM incoming", table.to_reader())

    def add_to(self, order: Order) -> None:
        """Say who waits for whom, and who can't have what it asks for."""
        found = self._workspace.all("SELECT DISTINCT resource, parameter FROM work.claims WHERE takes ORDER BY ALL")
        for name, parameter in found:
            uniques = self._catalog.resources[name].lifecycle.uniques
            unique = next(unique for unique in uniques if unique.parameter == parameter)
            self._reject_second_takers(name, unique, order)
            self._order_takers(name, unique, order)
        _reject_cycles(order)

    def _reject_second_takers(self, resource: str, unique: Unique, order: Order) -> None:
        rows = self._workspace.all(
            "SELECT change_id, sync, key, first_value(sync) OVER claim, first_value(key) OVER claim "
            "FROM work.claims WHERE takes AND resource = $resource AND parameter = $parameter "
            "WINDOW claim AS (PARTITION BY value ORDER BY sync, key) QUALIFY row_number() OVER claim > 1",
            {"resource": resource, "parameter": unique.parameter},
        )
        for change, sync, key, of_sync, of_key in rows:
            order.withheld[change] = _taken(unique, (sync, key), (of_sync, of_key), "asks for it, too")

    def _order_takers(self, resource: str, unique: Unique, order: Order) -> None:
        """Let each taker wait for the row of ours that has the value now, if that gives it up."""
        path = literal(f'$."{unique.parameter}"')
        value = f"json_extract_string(params, {path})"
        folded = f"lower({value})" if unique.ignores_case else value
        rows = self._workspace.all(
            f"""
            SELECT t.change_id, t.sync, t.key, r.sync, r.key, any_value(g.change_id), bool_or(g.late), count(g.value)
            FROM work.claims AS t
            JOIN (SELECT sync, key, {folded} AS value FROM known_records
                  WHERE resource = $resource AND salt IS NULL AND NOT ($among_active AND removed)) AS r
              ON r.value = t.value AND (r.sync, r.key) <> (t.sync, t.key)
            LEFT JOIN work.claims AS g
              ON NOT g.takes AND g.resource = t.resource AND g.parameter = t.parameter AND g.value = t.value
             AND g.sync = r.sync AND g.key = r.key
            WHERE t.takes AND t.resource = $resource AND t.parameter = $parameter
            GROUP BY ALL
            """,
            {
                "resource": resource,
                "parameter": unique.parameter,
                "among_active": unique.among_active or unique.transfer is not None,
            },
        )
        for taker, sync, key, of_sync, of_key, giver, late, gives in rows:
            if not gives:
                order.withheld.setdefault(taker, _taken(unique, (sync, key), (of_sync, of_key), "has it"))
            elif unique.transfer is None and giver is not None:
                if late:
                    order.end_first.add(giver)
                order.after[taker].append(f"{giver}!end" if late else giver)


def follow_or_withhold(settling: Settling, catalog: Catalog, order: Order) -> None:
    """Withhold replacements that end what others hold, where one of these can't follow."""
    for changes in settling.of_changes.values():
        for change in changes:
            together = any(rule.together for rule in catalog.resources[change.resource].lifecycle.held_by)
            if not together or change.stripe_id is None:
                continue
            stays = next((r for r in settling.referrers_of(change.stripe_id) if r.change_id is None), None)
            if stays is not None:
                why = "is rejected" if stays.is_planned else "is not changed by this plan"
                order.withheld[change.id] = Problem(
                    code="dependent-stays",
                    summary=f"row [{stays.key}] of `{stays.sync}` {why}, and would break without the old "
                    f"{change.resource}",
                    where=Location(sync=change.sync, key=change.key),
                    hint=f"fix row [{stays.key}] of `{stays.sync}`, or select that sync, too",
                )


def _claims(unique: Unique, diff: RowDiff, changes: Sequence[Change]) -> Iterator[tuple[str, str | None, bool, bool]]:
    """What the changes of a row do with a value: it, the change, whether that takes it, and whether at its end only."""
    had = _folded(unique, diff.params.get(unique.parameter))
    for change in changes:
        sent = [call.params[unique.parameter] for call in change.calls if unique.parameter in call.params]
        now = _folded(unique, sent[-1]) if sent else None
        if now is not None and now != had:
            yield now, change.id, True, False
        if had is None:
            continue
        if change.removed:
            if change.gone or unique.among_active or unique.transfer is not None:
                yield had, change.id, False, False
        elif change.action is Action.REPLACE:
            if now != had:
                yield had, change.id, False, True
        elif sent and now != had:
            yield had, change.id, False, False
    if not changes and had is not None and unique.transfer is not None:
        yield had, None, False, False


def _folded(unique: Unique, value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return value.lower() if unique.ignores_case else value


def _taken(unique: Unique, row: tuple[str, str], other: tuple[str, str], why: str) -> Problem:
    sync, key = row
    whose = f"row [{other[1]}]" if other[0] == sync else f"row [{other[1]}] of `{other[0]}`"
    return Problem(
        code="value-taken",
        summary=f"only one object can have this `{unique.parameter}`, and {whose} {why}",
        where=Location(sync=sync, field=f"fields.{unique.parameter}", key=key),
        hint=f"give one of the two rows another `{unique.parameter}`",
    )


def _reject_cycles(order: Order) -> None:
    """Withhold rows that wait for each other in a circle: each would need what the next one has not given up yet."""
    graph: Mapping[str, Sequence[str]] = {
        change: [other.removesuffix("!end") for other in others if not other.endswith("!end")]
        for change, others in order.after.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        for change in dict.fromkeys(error.args[1]):
            sync, key = row_of(change)
            order.withheld[change] = Problem(
                code="values-in-a-circle",
                summary="this row and others take values from each other that Stripe can't exchange in one step",
                where=Location(sync=sync, key=key),
                hint="give one of the rows another value first, then run it again",
            )
            order.after.pop(change, None)
        _reject_cycles(order)
