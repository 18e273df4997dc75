"""Finds the current rows of a dbt snapshot; the others are history."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt_stripe_sync.dbt.nodes import ModelConfig

# docs.getdbt.com/reference/resource-configs/snapshot_meta_column_names
VALID_TO = "dbt_valid_to"
IS_DELETED = "dbt_is_deleted"


def current_rows(config: ModelConfig) -> str:
    """The SQL condition for current rows. Names are written without quotes, as dbt writes them in its own snapshots."""
    names = config.snapshot_meta_column_names or {}
    valid_to = names.get(VALID_TO) or VALID_TO
    open_ended = f"{valid_to} IS NULL"
    # docs.getdbt.com/reference/resource-configs/dbt_valid_to_current: an SQL expression that means "still valid".
    if config.dbt_valid_to_current:
        open_ended = f"({open_ended} OR {valid_to} = ({config.dbt_valid_to_current}))"
    if config.hard_deletes != "new_record":
        return open_ended
    # A row that was deleted from the source is current, too, with this mark: dbt writes it as text.
    is_deleted = names.get(IS_DELETED) or IS_DELETED
    return f"{open_ended} AND ({is_deleted} IS NULL OR {is_deleted} <> 'True')"
