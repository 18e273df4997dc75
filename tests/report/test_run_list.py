"""The list of runs on a terminal."""

from __future__ import annotations

import pytest
from made import NOW, make_counts
from rich.cells import cell_len

from dbt_stripe_sync.model.run import RunEntry, RunStatus
from dbt_stripe_sync.report.run_list import render_runs


def entry() -> RunEntry:
    counts = make_counts(
        rows=5363,
        same=3860,
        rejected=1,
        drifted=1,
        by_action={"update": 293 + 1208},
        ended={"succeeded": 293},
    )
    return RunEntry(
        id="20260301T120000-abc123",
        command="run",
        target="dev",
        status=RunStatus.INTERRUPTED,
        started_at=NOW,
        finished_at=NOW,
        done={"succeeded": 293},
        requests=297,
        counts=(counts,),
    )


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_runs_fit_the_terminal_and_keep_what_needs_attention(width):
    heading, line = render_runs([entry()], width=width)

    assert max(map(cell_len, (heading, line))) <= width
    assert {"run", "status", "written", "rejected"} <= {*heading.split()}
    assert "not sent" in heading
    assert "1,208" in line
    assert ("unchanged" in heading) == (width > 80)
