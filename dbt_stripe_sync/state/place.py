"""The location of a state: a file, or an object store with a local copy in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

# The code of the problem that another run holds a state on an object store.
LEASED = "state-leased"


class RemotePlace(Struct, frozen=True, kw_only=True):
    """A URL without secrets (`s3://bucket/prefix`), and the dbt target of the state."""

    url: str
    target: str

    def __str__(self) -> str:
        return f"{self.url.rstrip('/')}/{self.target}"


class StatePlace(Struct, frozen=True, kw_only=True):
    """The location of a state: a file, or `remote`, of which the file is this machine's copy.

    `before` is the file that would be used without `remote`; its contents may have to be moved first. `memory_mb` is
    how much memory DuckDB may use; with None it depends on the machine.
    """

    path: Path
    remote: RemotePlace | None = None
    before: Path | None = None
    memory_mb: int | None = None

    def __str__(self) -> str:
        return str(self.remote or self.path)
