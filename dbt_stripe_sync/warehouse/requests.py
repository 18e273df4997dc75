"""Defines the arguments for opening a warehouse, besides its profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class AdapterRequest(Struct, frozen=True, kw_only=True):
    """What dbt 1.x needs to build the adapter of a warehouse without its own reader.

    `profile` and `target` are None for dbt's defaults. `vars` are those of the command line.
    """

    project_dir: Path
    profiles_dir: Path
    profile: str | None = None
    target: str | None = None
    vars: Mapping[str, Any] = field(default_factory=dict)


class TimeLimits(Struct, frozen=True, kw_only=True):
    """Seconds to wait for a connection and for each response. None means the profile's setting, or the default."""

    connect_seconds: float | None = None
    read_seconds: float | None = None


AS_THE_PROFILE_SAYS = TimeLimits()
