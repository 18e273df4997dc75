"""Detects a sync that was renamed only in YAML: its rows would look new, and every object would be created again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.model.errors import Problem, StateError
from dbt_stripe_sync.model.sql import literal
from dbt_stripe_sync.model.tag import TAG

if TYPE_CHECKING:
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.sync import Sync


class RenameCheck(Struct, frozen=True, kw_only=True):
    """Looks for a sync that is gone while there is a new one of the same resource.

    `known` has the names of all syncs in the project, including disabled ones and those that aren't selected.
    """

    workspace: Workspace
    known: frozenset[str] = field(default_factory=frozenset)

    def check_records(self, sync: Sync) -> None:
        """Stop if there is a sync without records, and records of a sync that no longer exists. Raises `StateError`."""
        if self.workspace.one("SELECT 1 FROM known_records WHERE sync = $sync LIMIT 1", {"sync": sync.name}):
            return
        rows = self.workspace.all(
            "SELECT sync, count(*) FROM known_records WHERE resource = $resource AND NOT removed "
            "AND NOT contains(sync, ':') AND sync NOT IN (SELECT unnest($known)) GROUP BY sync ORDER BY sync",
            {"resource": sync.resource, "known": sorted(self.known)},
        )
        if rows:
            raise StateError(_in_state(sync, name, count) for name, count in rows)

    def check_tags(self, sync: Sync) -> None:
        """Stop if Stripe has objects of a sync that no longer exists, and the state has none of them.

        Checks the objects that were listed for this plan. Raises `StateError`.
        """
        tag = f"json_extract_string(body, {literal(f'$.metadata.{TAG}')})"
        rows = self.workspace.all(
            f"SELECT split_part(tag, '/', 2) AS name, count(*) FROM (SELECT id, {tag} AS tag FROM work.objects "
            "WHERE resource = $resource) WHERE starts_with(tag, $project) AND name NOT IN (SELECT unnest($known)) "
            "AND name NOT IN (SELECT sync FROM forgotten_rows) "
            "AND id NOT IN (SELECT stripe_id FROM known_records WHERE resource = $resource) "
            "GROUP BY name ORDER BY name",
            {"resource": sync.resource, "project": f"{sync.project}/", "known": sorted(self.known)},
        )
        if rows:
            raise StateError(_in_stripe(sync, name, count) for name, count in rows)


def _in_state(sync: Sync, name: str, count: int) -> Problem:
    return Problem(
        code="sync-renamed",
        summary=f"`{name}` has {count:,} {'record' if count == 1 else 'records'} and is no longer in the project; "
        f"was it renamed to `{sync.name}`?",
        where=sync.where,
        hint=f"`dbt-stripe-sync state mv {name} {sync.name}` if it was renamed; if it was removed, "
        f"`dbt-stripe-sync state forget {name} --all` leaves its objects in Stripe unchanged",
    )


def _in_stripe(sync: Sync, name: str, count: int) -> Problem:
    what = f"{count:,} {sync.resource} {'object' if count == 1 else 'objects'}"
    return Problem(
        code="sync-renamed",
        summary=f"Stripe has {what} of the sync `{name}`, which is no longer in the project, and the state knows "
        f"none of them; was it renamed to `{sync.name}`?",
        where=sync.where,
        hint=f"if it was renamed, call it `{name}` again, run `dbt-stripe-sync state rebuild`, then rename it with "
        f"`state mv {name} {sync.name}`; if not, remove the `{TAG}` metadata of those objects",
    )
