"""The server's numbers in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.serve.deliveries import Deliveries

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTERS = {
    "deliveries": ("stripe_sync_deliveries_total", "outcome", "Webhook deliveries by result."),
    "runs": ("stripe_sync_runs_total", "status", "Syncs by status."),
    "changes": ("stripe_sync_changes_total", "status", "Changes by result."),
}
# Counters begin at 0, so that the first failure is an increase.
LABELS = {
    "deliveries": ("queued", "duplicate", "ignored", "rejected"),
    "runs": ("succeeded", "partial", "failed", "superseded"),
    "changes": ("succeeded", "rejected", "unknown", "skipped"),
}


def render_metrics(deliveries: Deliveries, rejected: int) -> str:
    """All numbers; `rejected` are requests whose signature or body was wrong."""
    return "\n".join(_lines(deliveries, rejected)) + "\n"


def _lines(deliveries: Deliveries, rejected: int) -> Iterator[str]:
    yield from _head("stripe_sync_build_info", "gauge", "The server's version.")
    yield f'stripe_sync_build_info{{version="{__version__}"}} 1'
    counts = {**deliveries.counters(), ("deliveries", "rejected"): rejected}
    for kind, (name, label, text) in COUNTERS.items():
        yield from _head(name, "counter", text)
        labels = dict.fromkeys((*LABELS[kind], *(value for of, value in counts if of == kind)))
        for value in labels:
            yield f'{name}{{{label}="{_escape(value)}"}} {counts.get((kind, value), 0)}'
    yield from _gauge("stripe_sync_queue_length", "Queued deliveries.", deliveries.waiting())
    is_running = deliveries.running() is not None
    yield from _gauge("stripe_sync_run_active", "Whether a sync is running.", int(is_running))
    last, good = deliveries.last_ended(), deliveries.last_ended("succeeded")
    if last is not None and last.finished_at is not None and last.started_at is not None:
        seconds = last.finished_at - last.started_at
        yield from _gauge("stripe_sync_last_run_timestamp_seconds", "When the last sync ended.", last.finished_at)
        yield from _gauge("stripe_sync_last_run_duration_seconds", "How long the last sync took.", seconds)
    if good is not None and good.finished_at is not None:
        yield from _gauge("stripe_sync_last_success_timestamp_seconds", "When a sync last succeeded.", good.finished_at)


def _gauge(name: str, text: str, value: float) -> Iterator[str]:
    yield from _head(name, "gauge", text)
    yield f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
