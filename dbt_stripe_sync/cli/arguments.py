"""Turns the arguments of a command into the project that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.workload import ProjectOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


def project_options(given: Mapping[str, Any]) -> ProjectOptions:
    """The options of the project, from all arguments of a command."""
    chosen = {name: given[name] for name in ProjectOptions.__struct_fields__ if name in given}
    return ProjectOptions(**{**chosen, "project_dir": chosen["project_dir"] or Path()})
