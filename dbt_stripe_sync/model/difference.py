"""How a row of a model differs from what was last written for it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(Enum):
    """How a row differs from its record. `RETURNED`: it is back in the model after its object was archived."""

    NEW = "new"
    CHANGED = "changed"
    RETURNED = "returned"
    REMOVED = "removed"


class RowDiff(Struct, frozen=True, kw_only=True):
    """One row that differs from what was last written. `row` is empty if it left the model.

    `unreadable` says that `params` has hashes with an unknown salt, which can't be compared. `only_refs` says that only
    the ids to which the row refers have changed; `missing` that its object was deleted in Stripe. `drifted` is its
    object if that was read back and differs from what was written, or has ended. `drift` is a digest of the difference,
    `is_drift_known` says that the state has the same one, and `drift_author` is who changed it, if known.
    """

    kind: Kind
    key: str
    row: Mapping[str, Any]
    source_hash: int | None
    refs: str | None
    stripe_id: str | None
    params: Mapping[str, Any]
    payload_hash: str | None
    adopted: bool
    unreadable: bool = False
    only_refs: bool = False
    missing: bool = False
    drifted: Mapping[str, Any] | None = None
    drift: str | None = None
    is_drift_known: bool = False
    drift_author: str | None = None
