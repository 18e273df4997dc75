"""What to import, and what `import` has written and left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "stripe_"
# The kinds of object that can be imported, by their plurals.
KINDS = ("products", "prices", "coupons")


class LeftOut(Struct, frozen=True, kw_only=True):
    """Objects, or a field of theirs, that are left out of the seeds, and why. `ids` has a few of them."""

    kind: str
    field: str | None
    reason: str
    count: int
    ids: tuple[str, ...]


class ImportOptions(Struct, frozen=True, kw_only=True):
    """What to import: kinds by their plural, and how. `is_trial` writes nothing; `overwrite` replaces files."""

    kinds: tuple[str, ...]
    prefix: str = PREFIX
    with_archived: bool = False
    overwrite: bool = False
    is_trial: bool = False


class ImportedSeed(Struct, frozen=True, kw_only=True):
    """One seed that was written."""

    name: str
    resource: str
    file: Path
    rows: int
    columns: int


class Imported(Struct, frozen=True, kw_only=True):
    """The result of an import. `properties` is the YAML file, None if there was nothing to write."""

    seeds: tuple[ImportedSeed, ...]
    properties: Path | None
    left_out: tuple[LeftOut, ...]
    account: str
