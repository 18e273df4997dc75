"""Where a state is: in a file, or on an object store, with a copy of it in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The code of the problem that another run holds a state on an object store.
LEASED = "state-leased"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePlace:
    """A URL without secrets (`s3://bucket/prefix`), and the dbt target whose state it is."""

    url: str
    target: str

    def __str__(self) -> str:
        return f"{self.url.rstrip('/')}/{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePlace:
    """Where a state is: in a file, or at `remote`, of which the file is this machine's copy.

    `before` is the file in which it would be without `remote`: what it holds may have to be moved first.
    `memory_mb` is what DuckDB may take; None leaves that to the machine.
    """

    path: Path
    remote: RemotePlace | None = None
    before: Path | None = None
    memory_mb: int | None = None

    def __str__(self) -> str:
        return str(self.remote or self.path)
