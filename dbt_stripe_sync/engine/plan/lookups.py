"""Resolves `{lookup: …}` references: finds the object for each value, or the reason why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.objects import EMAIL, NEAR_EMAIL, near_text
from dbt_stripe_sync.model.sql import FAILED_MARK, NEAR_MARK, SEVERAL_MARK, literal, quoted
from dbt_stripe_sync.model.sync import Lookup, MatchEmail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.engine.plan.references import ExistingObjects
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace


async def resolve_lookups(existing: ExistingObjects, workspace: Workspace, staged: Staged) -> list[str]:
    """Fill `work.lookups` for every `{lookup: …}` of a sync. Returns notes for the plan."""
    notes = []
    for table, part in [
        (staged.raw, staged.layout.row),
        *((staged.child_table(child), child) for child in staged.layout.children),
    ]:
        for reference in part.references:
            if isinstance(reference, Lookup):
                key = quoted(part.reference_key(reference))
                values = workspace.all(f"SELECT DISTINCT {key} FROM {table} WHERE {key} IS NOT NULL")
                wanted = [(reference.by, str(value)) for (value,) in values]
                note = await existing.ask(reference.resource, wanted)
                notes += [f"{reference.resource} by {reference.by}: {note}"] if note else []
                _keep_lookups(existing, workspace, reference.resource, reference.by)
                if reference.by == EMAIL:
                    await _keep_near(existing, workspace, reference.resource, [value for _, value in wanted], staged)
    return notes


async def _keep_near(
    existing: ExistingObjects, workspace: Workspace, resource: str, values: Sequence[str], staged: Staged
) -> None:
    """Add objects whose address differs only in case or blanks, for addresses that no object has exactly.

    Stripe's list filter is case-sensitive (docs.stripe.com/api/customers/list), its search is not.
    """
    found = workspace.all(
        "SELECT value FROM work.lookups WHERE resource = $resource AND field = $by",
        {"resource": resource, "by": EMAIL},
    )
    missing = set(values) - {value for (value,) in found}
    if not missing or not existing.is_searchable(resource):
        return
    is_exact = staged.sync.match_email is MatchEmail.EXACT
    pairs = {value: ((NEAR_EMAIL, near_text(value)),) for value in sorted(missing)}
    await existing.ask(resource, [pair for of_value in pairs.values() for pair in of_value])
    for value, near in existing.find(resource, pairs).items():
        ids = sorted(str(body["id"]) for body in near.objects)
        mark = FAILED_MARK if near.failed else NEAR_MARK if is_exact else SEVERAL_MARK
        is_one = len(ids) == 1 and mark == SEVERAL_MARK
        workspace.execute(
            "INSERT INTO work.lookups VALUES ($resource, $by, $value, $id)",
            {"resource": resource, "by": EMAIL, "value": value, "id": ids[0] if is_one else mark + ", ".join(ids)},
        )


def _keep_lookups(existing: ExistingObjects, workspace: Workspace, resource: str, by: str) -> None:
    workspace.execute(
        "DELETE FROM work.lookups WHERE resource = $resource AND field = $by", {"resource": resource, "by": by}
    )
    workspace.execute(
        f"""
        INSERT INTO work.lookups
        WITH found AS (
            SELECT v.*, coalesce(json_extract_string(o.body, '$.active') = 'false', false) AS is_archived
            FROM work.object_values AS v JOIN work.objects AS o ON o.resource = v.resource AND o.id = v.id
            WHERE v.resource = $resource AND v.field = $by
        ), in_use AS (
            SELECT * FROM found QUALIFY NOT is_archived OR bool_and(is_archived) OVER (PARTITION BY value)
        )
        SELECT resource, field, value, CASE WHEN count(DISTINCT id) = 1 THEN any_value(id)
               ELSE {literal(SEVERAL_MARK)} || string_agg(DISTINCT id, ', ' ORDER BY id) END
        FROM in_use GROUP BY resource, field, value
        """,
        {"resource": resource, "by": by},
    )
    for value in existing.failed_values(resource, by):
        workspace.execute(
            "INSERT INTO work.lookups VALUES ($resource, $by, $value, $mark)",
            {"resource": resource, "by": by, "value": value, "mark": FAILED_MARK},
        )
