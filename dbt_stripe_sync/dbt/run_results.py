"""Reads what one dbt command did: the status of each node, from `run_results.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from dbt_stripe_sync.dbt.artifact import broken_artifact, read_bytes
from dbt_stripe_sync.model.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

# `partial success`: some batches of a microbatch model failed (docs.getdbt.com/docs/build/incremental-microbatch).
FAIL = "fail"
FAILED = frozenset({"error", FAIL, "runtime error", "partial success"})
SKIPPED = "skipped"
# docs.getdbt.com/reference/artifacts/run-results-json: other commands (compile, docs generate, run-operation, show …)
# write results, too, but not about tables or tests.
BUILDING = frozenset({"build", "run", "test", "seed", "snapshot", "retry"})


class RunResults(Struct, frozen=True, kw_only=True):
    """The results of one command: the status of each node by its unique id, and the relations that it wrote.

    `target` and `profile` are from the command line or, in dbt 1.x, from the environment. `lacks_rows` says that it
    built its models without all their rows.
    """

    statuses: dict[str, str] = field(default_factory=dict)
    relations: dict[str, str] = field(default_factory=dict)
    generated_at: str = ""
    invocation_id: str = ""
    command: str = ""
    target: str | None = None
    profile: str | None = None
    lacks_rows: str | None = None
    dbt_version: str = ""

    @property
    def builds(self) -> bool:
        """Whether it is a command that builds or tests. Results without a command are from an old dbt, and count."""
        return bool(self.statuses) and (not self.command or self.command in BUILDING)


class _Result(msgspec.Struct, gc=False):
    unique_id: str
    status: str
    relation_name: str | None = None


class _Raw(msgspec.Struct):
    metadata: dict[str, Any]
    results: list[_Result]
    args: dict[str, Any] | None = None


def read_run_results(path: Path) -> RunResults:
    """The results of dbt's last command; empty if there are none. Raises `ConfigError` if they can't be read."""
    if not path.exists():
        return RunResults()
    content = read_bytes(path, "run results")
    try:
        raw = msgspec.json.decode(content, type=_Raw)
    except msgspec.ValidationError:
        raise ConfigError(broken_artifact(path, "it doesn't have dbt's format")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigError(broken_artifact(path, "it is not valid JSON, or it is truncated")) from None
    arguments = raw.args or {}
    return RunResults(
        statuses={result.unique_id: result.status.lower() for result in raw.results},
        relations={result.unique_id: result.relation_name for result in raw.results if result.relation_name},
        generated_at=str(raw.metadata.get("generated_at") or ""),
        invocation_id=str(raw.metadata.get("invocation_id") or ""),
        command=str(arguments.get("which") or ""),
        target=_text(arguments.get("target")),
        profile=_text(arguments.get("profile")),
        dbt_version=str(raw.metadata.get("dbt_version") or ""),
        lacks_rows=next((f"--{name}" for name in ("empty", "sample") if arguments.get(name)), None),
    )


def _text(value: Any) -> str | None:
    return str(value) if value else None
