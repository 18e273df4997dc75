"""What dbt's last run says of the models: those that failed, or whose tests did, must not reach Stripe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dbt_stripe_sync.dbt.artifact import broken_artifact, read_artifact
from dbt_stripe_sync.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dbt_stripe_sync.dbt.manifest import Manifest

# `partial success`: some batches of a microbatch model failed (docs.getdbt.com/docs/build/incremental-microbatch).
FAILED = frozenset({"error", "fail", "runtime error", "partial success"})
SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResults:
    """What dbt's last run did: the status of each node by its unique id."""

    statuses: Mapping[str, str] = field(default_factory=dict)
    generated_at: str = ""
    invocation_id: str = ""


def read_run_results(path: Path) -> RunResults:
    """The results of dbt's last run; empty where there are none. Raises `ConfigError` where they can't be read."""
    if not path.exists():
        return RunResults()
    raw = read_artifact(path, "run results")
    try:
        metadata = raw["metadata"]
        return RunResults(
            statuses={result["unique_id"]: str(result["status"]).lower() for result in raw["results"]},
            generated_at=str(metadata.get("generated_at", "")),
            invocation_id=str(metadata.get("invocation_id", "")),
        )
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(broken_artifact(path, "it is not what dbt writes")) from None


def held_models(manifest: Manifest, results: RunResults) -> Mapping[str, str]:
    """Models that must not be synced, with the reason: dbt could not build or test them, or what they come from."""
    held: dict[str, str] = {}
    for unique_id, status in results.statuses.items():
        node = manifest.nodes.get(unique_id)
        test = manifest.tests.get(unique_id)
        if node is not None and status in FAILED:
            held[unique_id] = f"`{node.name}` failed in dbt's last run"
        elif test is not None and test.is_error and status in FAILED:
            for guarded in test.guards:
                held.setdefault(guarded, f"the test `{test.name}` failed in dbt's last run")
    for unique_id, reason in list(held.items()):
        for child in _descendants(manifest, unique_id):
            held.setdefault(child, f"it comes from `{_name_of(manifest, unique_id)}`: {reason}")
    for unique_id, status in results.statuses.items():
        node = manifest.nodes.get(unique_id)
        # dbt 2 calls every ephemeral model skipped, since it builds none; one whose parents failed is held by them.
        if node is not None and status == SKIPPED and node.materialized != "ephemeral":
            held.setdefault(unique_id, f"`{node.name}` was skipped in dbt's last run")
    return held


def _name_of(manifest: Manifest, unique_id: str) -> str:
    node = manifest.nodes.get(unique_id)
    return node.name if node else unique_id


def _descendants(manifest: Manifest, unique_id: str) -> Iterator[str]:
    seen = {unique_id}
    ahead = [unique_id]
    while ahead:
        for child in manifest.children.get(ahead.pop(), ()):
            if child not in seen:
                seen.add(child)
                ahead.append(child)
                yield child
