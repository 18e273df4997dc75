"""A run as `target/stripe_sync_results.json`, next to dbt's `run_results.json` and in its style.

The document (version 1):

- `metadata`: `schema_version`, `generated_at`, `dbt_stripe_sync_version`, `run_id`, `project`, `target`, `account`,
  `livemode`, `api_version` and `plan_id`;
- `status` (`succeeded`, `partial`, `failed`, `declined`, `interrupted`), `started_at`, `finished_at`, `elapsed_time`
  (seconds), `requests` (HTTP requests sent), `reads` (those that changed nothing);
- `rows`: the results of the rows, in figures that add up to `rows` (those of the models) and `removals`;
- `totals`: how many changes `succeeded`, were `rejected`, are `unknown`, were `skipped`;
- `owed`: the steps on replaced objects that are still owed: `sync`, `key`, `action`, `target`, `since`, `reason`,
  `attempts`, `refused`;
- `syncs`: for each sync its model, resource, rows, counts, notes, and why it was held;
- `problems`: found before anything was sent, including `rejected` rows;
- `results`: one entry per change: `sync`, `key`, `action`, `resource`, `status`, `stripe_id`, `request_id`, `attempts`,
  `finished_at`, `fields`, `reason`, `failure` with `meaning` and `hint`; and `calls` if values were requested.

Within a version, names may be added, but none is renamed or removed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.report.explain import explain_outcome, fill_in
from dbt_stripe_sync.report.figures import WORDS as FIGURES
from dbt_stripe_sync.report.json_values import json_failure, json_header, json_params, json_problem, json_time
from dbt_stripe_sync.report.lines import escaped
from dbt_stripe_sync.report.plan_json import json_counts, json_owed
from dbt_stripe_sync.report.redact import hide_keys_in
from dbt_stripe_sync.report.run_text import totals_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dbt_stripe_sync.model.run import Outcome, RunEntry, RunReport

SCHEMA_VERSION = 1


def build_results(report: RunReport, *, with_values: bool = False) -> dict[str, Any]:
    """The whole document as JSON values. For a large run, `write_results` takes less memory."""
    results = [build_result(outcome, with_values=with_values) for outcome in report.outcomes]
    return {**build_head(report, with_values=with_values), "results": results}


def render_results(report: RunReport) -> Iterator[str]:
    """The whole document in lines, change by change, so that a large run takes no more memory."""
    yield _line(build_head(report)).decode()[:-1] + ',"results":['
    for index, outcome in enumerate(report.outcomes):
        yield ("," if index else "") + _line(build_result(outcome, with_values=False)).decode()
    yield "]}"


def write_results(
    report: RunReport,
    path: Path,
    *,
    with_values: bool = False,
    hear: Callable[[Outcome], None] = lambda _: None,
) -> None:
    """Write the document, change by change.

    The file is replaced completely or not at all. Raises `OSError`. `hear` is called with each outcome, so that another
    consumer needn't read them again.
    """

    def write(file: IO[bytes]) -> None:
        file.write(_line(build_head(report, with_values=with_values))[:-1] + b',"results":[')
        for index, outcome in enumerate(report.outcomes):
            file.write(b",\n" if index else b"\n")
            file.write(_line(build_result(outcome, with_values=with_values)))
            hear(outcome)
        file.write(b"\n]}\n")

    write_whole(path, write)


def _line(value: Mapping[str, Any]) -> bytes:
    """A line of JSON that is safe to print on a terminal."""
    return escaped(orjson.dumps(value).decode()).encode()


def write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a temporary file that only its owner can read, and move it into place once it is complete.

    Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A named temporary file is created with mode 0600, and the report contains keys of rows.
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(file.name).unlink()
            raise


def build_head(report: RunReport, *, with_values: bool = False) -> dict[str, Any]:
    """Everything in the document except its results."""
    header, figures = json_header(report.header), totals_of(report)
    head = {
        "metadata": {
            "schema_version": SCHEMA_VERSION,
            "generated_at": json_time(datetime.now(UTC)),
            "dbt_stripe_sync_version": header["version"],
            "run_id": report.run_id,
            "project": header["project"],
            "target": header["target"],
            "account": header["account"],
            "livemode": header["livemode"],
            "api_version": header["api_version"],
            "plan_id": header["plan_id"],
        },
        "status": report.status.value,
        "started_at": json_time(report.started_at),
        "finished_at": json_time(report.finished_at),
        "elapsed_time": round((report.finished_at - report.started_at).total_seconds(), 6),
        "requests": report.requests,
        "reads": report.reads,
        "rows": {name: getattr(figures, name) for name in ("rows", "removals", *FIGURES)},
        "totals": {status.value: report.done.get(status.value, 0) for status in Status},
        "owed": [json_owed(step, with_values=with_values) for step in report.owed],
        "syncs": [json_counts(counts) for counts in report.counts],
        "problems": [json_problem(problem) for problem in report.problems],
    }
    return dict(hide_keys_in(head))


def build_entry(run: RunEntry) -> dict[str, Any]:
    """One line of the list of runs."""
    figures = totals_of(run)
    return {
        "run": run.id,
        "command": run.command,
        "target": run.target,
        "status": run.status.value,
        "started": f"{run.started_at:%Y-%m-%d %H:%M:%S}Z",
        "succeeded": run.done.get(Status.SUCCEEDED.value, 0),
        **{name: getattr(figures, name) for name in ("rows", "removals", *FIGURES)},
        "owed": run.owed,
        "requests": run.requests,
    }


def build_sums(report: RunReport) -> dict[str, Any]:
    """The result of a run, for one line of a log."""
    head = build_head(report)
    names = ("status", "elapsed_time", "requests", "reads", "totals")
    return {"run_id": report.run_id, **{name: head[name] for name in names}}


def build_result(outcome: Outcome, *, with_values: bool) -> dict[str, Any]:
    """The result of one change."""
    change = outcome.change
    result: dict[str, Any] = {
        "sync": change.sync,
        "key": change.key,
        "action": change.action.value,
        "resource": change.resource,
        "status": outcome.status.value,
        "stripe_id": outcome.stripe_id or change.stripe_id,
        "request_id": outcome.request_id,
        "attempts": outcome.attempts,
        "finished_at": json_time(outcome.finished_at),
        "fields": [part.path for part in change.changed],
        "reason": outcome.reason or change.reason,
        "failure": json_failure(outcome.failure, change, with_values=with_values),
    }
    explanation = explain_outcome(outcome)
    if outcome.failure is not None and explanation is not None:
        result["failure"]["meaning"] = fill_in(explanation.meaning, outcome.failure, change)
        result["failure"]["hint"] = fill_in(explanation.hint, outcome.failure, change)
    if with_values:
        result["calls"] = [
            {"operation": call.operation, "target": json_params(call.target), "params": json_params(call.params)}
            for call in change.calls
        ]
    return dict(hide_keys_in(result))
