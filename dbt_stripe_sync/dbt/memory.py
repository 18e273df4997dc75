"""What dbt's commands did, remembered beside the state: dbt itself keeps the results of its last command alone.

`dbt docs generate` after a failed `dbt build` takes the failure away; so does `dbt test -s other`, or deleting
`target/`. Each command that built or tested something is kept in a file of its own, named by its time and invocation,
until later ones have said something newer of all that it did.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import msgspec
import orjson

from dbt_stripe_sync.dbt.run_results import SKIPPED, RunResults

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER = ".stripe_sync"
RESULTS = "dbt_results"
ANYWHERE = ""
TESTS = ("test.", "unit_test.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The newest result of one node, with the command that it is from."""

    status: str
    by: RunResults


@dataclass(frozen=True, slots=True)
class KnownResults:
    """The newest result of each node at each place: the relation that it wrote, or else the target of the command."""

    entries: dict[str, dict[str, Known]] = field(default_factory=dict)

    def add(self, results: RunResults) -> None:
        """Take in the results of a later command."""
        if not results.builds:
            return
        elsewhere = results.target or ANYWHERE
        for unique_id, status in results.statuses.items():
            if status == SKIPPED and unique_id.startswith(TESTS):
                continue  # what was not run says nothing of the test
            place = results.relations.get(unique_id, elsewhere)
            self.entries.setdefault(unique_id, {})[place] = Known(status=status, by=results)

    def of(self, unique_id: str, *places: str) -> Known | None:
        """The newest result of a node at one of some places."""
        at = self.entries.get(unique_id, {})
        found = [at[place] for place in (*places, ANYWHERE) if place in at]
        return max(found, key=lambda known: known.by.generated_at, default=None)

    @property
    def invocations(self) -> set[str]:
        """The commands of which something is still the newest."""
        return {known.by.invocation_id for at in self.entries.values() for known in at.values()}


def remember(root: Path, results: RunResults) -> None:
    """Keep the results of a command, if it built or tested anything.

    Side effects: writes a file below `.stripe_sync`, which ignores itself in git. Where nothing can be written, nothing
    is kept.
    """
    if not results.builds or not results.invocation_id:
        return
    folder = root / FOLDER / RESULTS
    name = f"{results.generated_at}-{results.invocation_id}".replace(":", "").replace("/", "")
    file = folder / f"{name}.json"
    with suppress(OSError):
        if file.exists():
            return
        # The state lies in the same folder: nobody else may look into it.
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        ignored = root / FOLDER / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n")
        part = file.with_suffix(f".{os.getpid()}.part")
        part.touch(mode=0o600)
        part.write_bytes(orjson.dumps(asdict(results)))
        part.replace(file)


def recall(root: Path, current: RunResults) -> KnownResults:
    """All that is known of dbt's commands, with the results that lie in `target/` now.

    Side effects: remembers these, and removes what later commands have outdated.
    """
    remember(root, current)
    files = {file: results for file in (root / FOLDER / RESULTS).glob("*.json") if (results := _read(file))}
    known = KnownResults()
    for results in _by_time([*files.values(), current]):
        known.add(results)
    for file, results in files.items():
        if results.invocation_id not in known.invocations:
            with suppress(OSError):
                file.unlink()
    return known


def _by_time(runs: Iterable[RunResults]) -> list[RunResults]:
    return sorted(runs, key=lambda results: results.generated_at)


def _read(file: Path) -> RunResults | None:
    """What can't be read counts as forgotten."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunResults)
    except (OSError, msgspec.MsgspecError):
        return None
