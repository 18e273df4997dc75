"""The arguments for opening a warehouse besides its profile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRequest:
    """What dbt 1.x needs to build the adapter of a warehouse without its own reader.

    `profile` and `target` are None for dbt's own defaults. `vars` are those of the command line.
    """

    project_dir: Path
    profiles_dir: Path
    profile: str | None = None
    target: str | None = None
    vars: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """Seconds to wait for a connection and for each answer; None takes the profile's, or the default."""

    connect_seconds: float | None = None
    read_seconds: float | None = None


AS_THE_PROFILE_SAYS = TimeLimits()
