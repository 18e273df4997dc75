"""Asks `dbt ls` about a selector that only dbt understands, regardless of how the environment changes its output."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.dbt.command import start_dbt, state_arguments
from dbt_stripe_sync.model.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.dbt.manifest import Manifest
    from dbt_stripe_sync.dbt.project import Chosen, DbtProject

# With `--output-keys unique_id`, a line contains nothing else.
_LISTED = re.compile(r'\s*\{"unique_id": ?"([^"]+)"\}\s*')
# Colors, times and titles, and the stack trace that dbt 2 prints below an error.
_DECORATION = re.compile(
    r"^(\x1b\[[\d;]*m)?\d\d:\d\d:\d\d +(Encountered an error:)?|\x1b\[[\d;]*m|^=+ .* =+$|^ +\d+: .*$|^ +at \.?/.*$",
    re.MULTILINE,
)
MOST_WORDS = 600  # characters
# An option takes precedence over the variable and over `flags:` in dbt_project.yml with the same meaning.
_PINNED = (
    *("--output", "json", "--output-keys", "unique_id", "--log-format", "text", "--log-level", "info", "--quiet"),
    *("--resource-type", "model", "--resource-type", "seed", "--resource-type", "snapshot"),
    # dbt 1.x's `ls` would overwrite the build's manifest with one that lacks the compiled SQL of ephemeral models.
    "--no-write-json",
)
# No option overrides these: DIRTY makes dbt 2 list only changed nodes, and log levels of 1.x stop it.
_DROPPED = (
    *("EXCLUDE_RESOURCE_TYPES", "EXCLUDE_RESOURCE_TYPE", "WARN_ERROR", "WARN_ERROR_OPTIONS", "PRINTER_WIDTH"),
    *("DIRTY", "LOG_LEVEL", "LOG_FORMAT", "DEBUG"),
)


class DbtLs(Struct, frozen=True, kw_only=True):
    """Asks the user's own dbt."""

    project: DbtProject
    chosen: Chosen
    manifest: Manifest

    def selector(self, selector: str) -> frozenset[str]:
        """The models, seeds and snapshots that a selector finds. Raises `ConfigError`."""
        return self._answer(("--select", selector), f"selector `{selector}`")

    def named(self, name: str) -> frozenset[str]:
        """The nodes that a selector in selectors.yml finds. Raises `ConfigError`."""
        return self._answer(("--selector", name), f"`--selector {name}`")

    def _answer(self, question: Sequence[str], what: str) -> frozenset[str]:
        listed = self._list(question, what)
        if not listed and (known := next(iter(self.manifest.nodes.values()), None)) is not None:
            # Missing output looks like an empty answer, so a second question with a known answer tells them apart.
            control = self._list(("--select", ".".join(known.fqn) or known.name), what)
            if known.unique_id not in control:
                raise ConfigError(_unreadable(what))
        return listed

    def _list(self, question: Sequence[str], what: str) -> frozenset[str]:
        done = start_dbt(
            self.project,
            self.chosen,
            ["ls", *_PINNED, *question, *state_arguments(self.project, self.chosen)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            without=[f"{prefix}_{name}" for name in _DROPPED for prefix in ("DBT", "DBT_ENGINE")],
        )
        if done.returncode != 0:
            said = _words_of(done.stdout + done.stderr)
            command = " ".join(["dbt ls", question[0], f"'{question[1]}'"])
            raise ConfigError(
                Problem(
                    code="bad-selector",
                    # Not printed as they are, since with `--log-format json` all of stderr is JSON.
                    summary=f"dbt rejects the {what}{f': {said}' if said else ''}",
                    hint=f"fix the selector, or what it needs; to reproduce: {command}",
                )
            )
        return frozenset(_parse_listing(done.stdout, what))


def _words_of(output: str) -> str:
    """What dbt said, on one line, without decoration."""
    words = " ".join(_DECORATION.sub("", output).split())
    return words if len(words) <= MOST_WORDS else f"{words[:MOST_WORDS]}…"


def _parse_listing(text: str, what: str) -> list[str]:
    """The unique ids among the lines; dbt may write warnings between them, but no other JSON."""
    listed = []
    for line in text.splitlines():
        found = _LISTED.fullmatch(line)
        if found:
            listed.append(found.group(1))
        elif line.lstrip().startswith("{"):
            raise ConfigError(_unreadable(what))
    return listed


def _unreadable(what: str) -> Problem:
    return Problem(
        code="unreadable-listing",
        summary=f"the output of `dbt ls` for the {what} can't be read, so its selection is unknown",
        hint="unset variables of the environment that begin with `DBT_`, and see what `dbt ls --output json` prints",
    )
