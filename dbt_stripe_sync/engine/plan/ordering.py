"""Connects changes of different rows: unique values that move between rows, and replacements that other rows follow.

Both are known once every sync is planned. A row that takes a value waits for the row that gives it up. A row that can't
have the value, or whose dependents can't follow it, is withheld from the plan, together with everything that depends on
it.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dbt_stripe_sync.engine.plan.settling import id_of_earlier
from dbt_stripe_sync.model.change import ENDS_FIRST, OWED_EARLIER, Action, Change, row_of
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.difference import Kind
from dbt_stripe_sync.model.errors import Location, Problem, Severity
from dbt_stripe_sync.model.sql import literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.plan.order import Order
    from dbt_stripe_sync.engine.plan.settling import Referrer, Settling
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.change import Owed
    from dbt_stripe_sync.model.difference import RowDiff
    from dbt_stripe_sync.model.lifecycle import Lifecycle, Unique
    from dbt_stripe_sync.model.params import Catalog, Resource
    from dbt_stripe_sync.model.sync import Sync

_CLAIMS = pa.schema(
    [(name, pa.string()) for name in ("resource", "parameter", "value", "sync", "key", "change_id")]
    + [("takes", pa.bool_()), ("late", pa.bool_())]
)


class Uniques:
    """Which changes take, and which give up, values that only one object of a resource can have."""

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
        self._workspace.insert("work.claims", _CLAIMS, rows)

    def note_left(self, resource: Resource, sync: str, diffs: Sequence[RowDiff]) -> None:
        """Note rows that may give up such values, but not in this plan: `late` is then unknown."""
        rows = [
            (resource.name, unique.parameter, value, sync, diff.key, None, False, None)
            for unique in resource.lifecycle.uniques
            for diff in diffs
            if (value := _folded(unique, diff.params.get(unique.parameter))) is not None
        ]
        self._workspace.insert("work.claims", _CLAIMS, rows)

    def forget(self, sync: str) -> None:
        """Forget the changes of a sync that is held back."""
        self._workspace.execute("DELETE FROM work.claims WHERE sync = $sync", {"sync": sync})

    def add_to(self, order: Order, settling: Settling) -> None:
        """Add which changes wait for which, and which can't have the value that they ask for."""
        found = self._workspace.all("SELECT DISTINCT resource, parameter FROM work.claims WHERE takes ORDER BY ALL")
        for name, parameter in found:
            uniques = self._catalog.resources[name].lifecycle.uniques
            unique = next(unique for unique in uniques if unique.parameter == parameter)
            self._reject_second_takers(name, unique, order)
            self._order_takers(name, unique, order)
        self._order_after_ends(settling, order)
        _reject_cycles(order)

    def _reject_second_takers(self, resource: str, unique: Unique, order: Order) -> None:
        rows = self._workspace.all(
            "SELECT change_id, sync, key, first_value(sync) OVER claim, first_value(key) OVER claim "
            "FROM work.claims WHERE takes AND resource = $resource AND parameter = $parameter "
            "WINDOW claim AS (PARTITION BY value ORDER BY sync, key) QUALIFY row_number() OVER claim > 1",
            {"resource": resource, "parameter": unique.parameter},
        )
        for change, sync, key, of_sync, of_key in rows:
            order.withheld[change] = _value_taken(unique, (sync, key), (of_sync, of_key), "asks for it, too")

    def _order_takers(self, resource: str, unique: Unique, order: Order) -> None:
        """Make each change that takes a value wait for the row that has it now, if that row gives it up."""
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
                order.withheld.setdefault(taker, _value_taken(unique, (sync, key), (of_sync, of_key), "has it"))
            elif late is None and unique.transfer is None:
                order.withheld.setdefault(taker, _left_for_later(unique, (sync, key), (of_sync, of_key)))
            elif unique.transfer is None:
                if late:
                    order.end_first.add(giver)
                order.after[taker].append(f"{giver}{ENDS_FIRST}" if late else giver)

    def _order_after_ends(self, settling: Settling, order: Order) -> None:
        """Make a change that takes the id of an object wait for its end, if that is owed: it would hit the new one."""
        owed = {(step.resource, step.target): step for step in settling.earlier}
        if not owed:
            return
        rows = self._workspace.all(
            "SELECT resource, value, change_id FROM work.claims "
            "WHERE takes AND parameter = 'id' AND value IN (SELECT unnest($targets)) ORDER BY ALL",
            {"targets": [target for _, target in owed]},
        )
        taken = [(owed[resource, value], change) for resource, value, change in rows if (resource, value) in owed]
        in_use = settling.in_use_now([step for step, _ in taken])
        for step, change in taken:
            if (step.resource, step.target) in in_use:
                continue  # the step is held back
            if (left := self._left_behind(step, settling)) is not None:
                order.withheld.setdefault(change, _is_referred_to(change, step, left))
                continue
            settling.freed.add((step.resource, step.target))
            for part in (change, f"{change}{ENDS_FIRST}") if change in order.end_first else (change,):
                order.after[part].append(id_of_earlier(step))

    def _left_behind(self, step: Owed, settling: Settling) -> Referrer | None:
        """A row that refers to an object that a row owes to end, and that doesn't move to another one in this plan."""
        together = any(rule.together for rule in self._catalog.resources[step.resource].lifecycle.held_by)
        targets = [other.target for other in settling.earlier if (other.sync, other.key) == (step.sync, step.key)]
        found = (referrer for rows in settling.referrers_to(targets).values() for referrer in rows)
        return next((row for row in found if row.change_id is None and (together or row.is_planned)), None)


def follow_or_withhold(settling: Settling, catalog: Catalog, order: Order) -> None:
    """Move or end what refers to an ending object first; if that's impossible, the end is withheld."""
    referrers = settling.referrers_of([*settling.replaced, *settling.removed])
    for change in settling.replaced:
        together = any(rule.together for rule in catalog.resources[change.resource].lifecycle.held_by)
        for referrer in referrers.get(str(change.stripe_id), ()) if together else ():
            if referrer.change_id is None:
                order.withheld[change.id] = stays(change, referrer)
    _withhold_unfollowed(settling, catalog, referrers, order)
    waited_for = order.first
    for change in settling.removed:
        lifecycle = catalog.resources[change.resource].lifecycle
        for referrer in referrers.get(str(change.stripe_id), ()):
            _order_removal(change, referrer, lifecycle, order, is_waited_for=change.id in waited_for)


def _order_removal(
    change: Change, referrer: Referrer, lifecycle: Lifecycle, order: Order, *, is_waited_for: bool
) -> None:
    """Move or end one row's object before a removal to whose object it refers, or withhold the removal."""
    breaking = [rule for rule in lifecycle.held_by if rule.together]
    hard = {rule.resource for rule in (*lifecycle.ends_with_it, *breaking)}
    would_break = change.gone and referrer.resource in hard
    if referrer.change_id is None:
        if referrer.is_planned or would_break:
            order.withheld[change.id] = stays(change, referrer)
    elif would_break and is_waited_for and referrer.ends_first is not None:
        # The new object may need what this removal frees, so it can't exist before.
        order.end_at_once(referrer.change_id, change.id, is_split=referrer.ends_first)
    elif would_break and not referrer.ends:
        order.withheld[change.id] = ends_later(change, (referrer.resource, referrer.sync, referrer.key))
    elif change.gone or not referrer.ends or referrer.resource in lifecycle.managed_by:
        order.after[change.id].append(referrer.change_id)


def leave_for_next_run(syncs: Sequence[Sync], order: Order) -> None:
    """Withhold a change that waits for one of a sync that starts only after all changes of its own sync (`after`)."""
    first: dict[str, frozenset[str]] = {}
    for sync in syncs:
        first[sync.name] = frozenset(sync.after).union(*(first.get(name, frozenset()) for name in sync.after))
    for change, others in order.after.items():
        name, key = row_of(change)
        rows = (other for other in others if not other.endswith(OWED_EARLIER))  # owed steps don't wait for a sync
        later = next((other for other in rows if name in first.get(row_of(other)[0], ())), None)
        if later is not None:
            of_sync, of_key = row_of(later.removesuffix(ENDS_FIRST))
            order.withheld[change] = Problem(
                code="dependency-withheld",
                summary=f"row [{of_key}] of `{of_sync}` has to change first, and `{of_sync}` starts after `{name}`",
                where=Location(sync=name, key=key),
                hint="nothing to do: the next run sends it",
                severity=Severity.WARNING,
            )


def _withhold_unfollowed(
    settling: Settling, catalog: Catalog, referrers: Mapping[str, Sequence[Referrer]], order: Order
) -> None:
    """Withhold a replacement if Stripe wouldn't let the rows that refer to the old object move to the new one."""
    moving = settling.moving_to(settling.replaced)
    for change in settling.replaced:
        rules = catalog.resources[change.resource].lifecycle.not_followed
        name = next((part.path for part in change.changed if part.path in rules), None)
        if name is None:
            continue
        stuck = [
            referrer
            for referrer in referrers.get(str(change.stripe_id), ())
            if referrer.resource in rules[name] and (referrer.sync, referrer.key) in moving.get(change.id, ())
        ]
        if stuck:
            order.withheld[change.id] = _unfollowed(change, name, stuck)


def _unfollowed(change: Change, name: str, stuck: Sequence[Referrer]) -> Problem:
    first = stuck[0]
    rows = counted(len(stuck), "row")
    return Problem(
        code="dependents-cannot-follow",
        summary=f"`{name}` differs, and {rows} of `{first.sync}` would move to the new {change.resource}: Stripe "
        f"doesn't let a {first.resource} change its `{name}`",
        where=Location(sync=change.sync, field=f"fields.{name}", key=change.key),
        hint=f"give the {change.resource} with the new `{name}` a row of its own, or let those rows keep theirs with "
        "`when_replaced: keep`",
    )


def stays(change: Change, referrer: Referrer) -> Problem:
    """Why an object can't end yet: a row still refers to it."""
    why = "can't be changed in this plan" if referrer.is_planned else "is not changed by this plan"
    return Problem(
        code="dependent-stays",
        summary=f"row [{referrer.key}] of `{referrer.sync}` {why}, and still refers to this {change.resource}",
        where=Location(sync=change.sync, key=change.key),
        hint=f"fix row [{referrer.key}] of `{referrer.sync}`, or select that sync, too"
        if referrer.is_planned
        else f"select `{referrer.sync}`, too, or let its `on_removed` end the {referrer.resource}; "
        f"`on_removed: ignore` on `{change.sync}` leaves both",
    )


def ends_later(change: Change, other: tuple[str, str, str]) -> Problem:
    """Why a removal waits for another object, given by its resource, sync and key."""
    resource, sync, key = other
    return Problem(
        code="dependent-ends-later",
        summary=f"the {resource} of row [{key}] of `{sync}` will end later, and the removal of this {change.resource} "
        "would affect it immediately",
        where=Location(sync=change.sync, key=change.key),
        hint="nothing to do: it is removed by the first run after that has ended",
        severity=Severity.WARNING,
    )


def _claims(unique: Unique, diff: RowDiff, changes: Sequence[Change]) -> Iterator[tuple[str, str | None, bool, bool]]:
    """What a row's changes do with a value: the value, the change, whether it takes it, and whether only at its end."""
    had = _folded(unique, diff.params.get(unique.parameter))
    # An archived object no longer has the value, even if its row comes back with it.
    is_back = diff.kind is Kind.RETURNED and unique.among_active
    for change in changes:
        sent = [call.params[unique.parameter] for call in change.calls if unique.parameter in call.params]
        now = _folded(unique, sent[-1]) if sent else None
        if is_back and change.action is Action.UPDATE and not sent:
            now = had
        if now is not None and (is_back or now != had):
            yield now, change.id, True, False
        if had is not None and not is_back and (given := _gives_up(unique, change, sent=bool(sent), keeps=now == had)):
            yield had, change.id, False, given == "late"
    if not changes and had is not None and unique.transfer is not None:
        yield had, None, False, False


def _gives_up(unique: Unique, change: Change, *, sent: bool, keeps: bool) -> str | None:
    """Whether a change gives up its row's value, and whether that happens at the start or at the end of the change."""
    if change.removed:
        return "now" if change.gone or unique.among_active or unique.transfer is not None else None
    if change.action is Action.REPLACE:
        return None if keeps else "late"
    return "now" if sent and not keeps else None


def _folded(unique: Unique, value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return value.lower() if unique.ignores_case else value


def _value_taken(unique: Unique, row: tuple[str, str], other: tuple[str, str], why: str) -> Problem:
    sync, key = row
    whose = f"row [{other[1]}]" if other[0] == sync else f"row [{other[1]}] of `{other[0]}`"
    return Problem(
        code="value-taken",
        summary=f"only one object can have this `{unique.parameter}`, and {whose} {why}",
        where=Location(sync=sync, field=f"fields.{unique.parameter}", key=key),
        hint=f"give one of the two rows another `{unique.parameter}`",
    )


def _left_for_later(unique: Unique, row: tuple[str, str], other: tuple[str, str]) -> Problem:
    name = unique.parameter
    return Problem(
        code="dependency-withheld",
        summary=f"row [{other[1]}] of `{other[0]}` still has this `{name}`, and --limit leaves it for later",
        where=Location(sync=row[0], field=f"fields.{name}", key=row[1]),
        hint="nothing to do: a run without --limit sends both",
        severity=Severity.WARNING,
    )


def _is_referred_to(change: str, step: Owed, referrer: Referrer) -> Problem:
    sync, key = row_of(change)
    return Problem(
        code="dependent-stays",
        summary=f"the {step.resource} that has this `id` can't end yet: row [{referrer.key}] of `{referrer.sync}` "
        "still refers to it",
        where=Location(sync=sync, field="fields.id", key=key),
        hint=f"fix row [{referrer.key}] of `{referrer.sync}`, or select that sync, too",
    )


def _reject_cycles(order: Order) -> None:
    """Withhold rows that wait for each other in a cycle: each needs what the next one has not given up yet."""
    graph: Mapping[str, Sequence[str]] = {
        change: [other.removesuffix(ENDS_FIRST) for other in others if not other.endswith(ENDS_FIRST)]
        for change, others in order.after.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        for change in dict.fromkeys(error.args[1]):
            sync, key = row_of(change)
            order.withheld[change] = Problem(
                code="circular-values",
                summary="this row and others take values from each other that Stripe can't exchange in one step",
                where=Location(sync=sync, key=key),
                hint="give one of the rows another value first, then run it again",
            )
            order.after.pop(change, None)
        _reject_cycles(order)
