"""Shows the progress of a dbt Cloud run on stderr, as text or as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.report.progress_lines import log_line

if TYPE_CHECKING:
    from dbt_stripe_sync.cli.screen import Screen
    from dbt_stripe_sync.cloud import CloudRun, Fetched


class CloudProgress:
    """Reports each new state and step of a run once."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._has_address = False

    def run_changed(self, run: CloudRun) -> None:
        """The run has a new state, or another step."""
        step = run.current_step
        at = f", step {step.index} of {len(run.steps)}: {step.command or step.name}" if step else ""
        address = "" if self._has_address else f"  {run.url}"
        self._has_address = True
        self._say(
            f"dbt Cloud run {run.id} {run.state.word}{at}{address}",
            event="dbt_cloud_run",
            run=run.id,
            job=run.job_id,
            state=run.state.name.lower(),
            step=step.index if step else None,
        )

    def fetched(self, fetched: Fetched) -> None:
        """The artifacts are in the target folder."""
        run = fetched.run
        self._say(
            f"dbt Cloud run {run.id} ({run.state.word}): artifacts of step {fetched.step} are in {fetched.target_path}",
            event="dbt_cloud_artifacts",
            run=run.id,
            job=run.job_id,
            state=run.state.name.lower(),
            step=fetched.step,
        )

    def _say(self, text: str, **facts: Any) -> None:
        if self._screen.is_quiet:
            return
        if self._screen.log_format == "json":
            text = log_line(facts.pop("event"), "info", **facts)
        self._screen.notes([text])
