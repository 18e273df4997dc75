"""Stores the results of dbt's commands next to the state, since dbt itself only keeps those of its last command.

`dbt docs generate` after a failed `dbt build` overwrites the failure; so does `dbt test -s other`, or deleting
`target/`. Each command that built or tested something has its own file, named by its time and invocation, until later
ones have newer results for everything in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import orjson
from msgspec import Struct, field
from msgspec.structs import asdict

from dbt_stripe_sync.dbt.run_results import SKIPPED, RunResults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from dbt_stripe_sync.dbt.places import Place

FOLDER = ".stripe_sync"
RESULTS = "dbt_results"
TESTS = ("test.", "unit_test.")


class Known(Struct, frozen=True, kw_only=True):
    """The newest result of one node, with the command that it is from."""

    status: str
    by: RunResults


class Extent(Struct, frozen=True):
    """What a result is about: a relation on a server, or everything at a place. None means any."""

    relation: str | None
    where: str | None


class KnownResults(Struct, frozen=True):
    """The newest result of each node for each extent."""

    entries: dict[str, dict[Extent, Known]] = field(default_factory=dict)

    def add(self, results: RunResults, place: Place | None) -> None:
        """Add the results of a later command, which has built at a place, or None if that is unknown."""
        if not results.builds:
            return
        for unique_id, status in results.statuses.items():
            is_test = unique_id.startswith(TESTS)
            if is_test and status == SKIPPED:
                continue  # a test that was not run has no new result
            # A test's relation has its stored failures, which are irrelevant here.
            relation = None if is_test else results.relations.get(unique_id)
            where = None if place is None else (place.server if relation else place.identity)
            self.entries.setdefault(unique_id, {})[Extent(relation, where)] = Known(status=status, by=results)

    def of(self, unique_id: str, relation: str | None, place: Place) -> Known | None:
        """The newest result of a node, for the relation that it has at a place."""
        at = self.entries.get(unique_id, {})
        extents = (
            Extent(None, None),
            Extent(None, place.identity),
            Extent(relation, None),
            Extent(relation, place.server),
        )
        found = [at[extent] for extent in extents if extent in at]
        return max(found, key=lambda known: known.by.generated_at, default=None)

    @property
    def invocations(self) -> set[str]:
        """The commands with results that are still the newest."""
        return {known.by.invocation_id for at in self.entries.values() for known in at.values()}


def remember(root: Path, results: RunResults) -> None:
    """Store the results of a command, if it built or tested anything.

    Side effects: writes a file below `.stripe_sync`, which git ignores. If it can't be written, nothing is stored.
    """
    if not results.builds or not results.invocation_id:
        return
    folder = root / FOLDER / RESULTS
    name = f"{results.generated_at}-{results.invocation_id}".replace(":", "").replace("/", "")
    file = folder / f"{name}.json"
    with suppress(OSError):
        if file.exists():
            return
        # The state is in the same folder, so only its owner may read it.
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        ignored = root / FOLDER / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n")
        part = file.with_suffix(f".{os.getpid()}.part")
        part.touch(mode=0o600)
        part.write_bytes(orjson.dumps(asdict(results)))
        part.replace(file)


def recall(root: Path, current: RunResults, built_place: Callable[[RunResults], Place | None]) -> KnownResults:
    """All stored results of dbt's commands, with those in `target/`.

    Side effects: stores these, and removes outdated ones.
    """
    remember(root, current)
    files = {file: results for file in (root / FOLDER / RESULTS).glob("*.json") if (results := _read(file))}
    known = KnownResults()
    for results in _by_time([*files.values(), current]):
        known.add(results, built_place(results))
    for file, results in files.items():
        if results.invocation_id not in known.invocations:
            with suppress(OSError):
                file.unlink()
    return known


def _by_time(runs: Iterable[RunResults]) -> list[RunResults]:
    return sorted(runs, key=lambda results: results.generated_at)


def _read(file: Path) -> RunResults | None:
    """Read a file. One that can't be read counts as forgotten."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunResults)
    except (OSError, msgspec.MsgspecError):
        return None
