"""The runs as a table, with row counts that add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from dbt_stripe_sync.report.figures import WORDS
from dbt_stripe_sync.report.run_text import totals_of
from dbt_stripe_sync.report.tables import GAP, render_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.run import RunEntry

COLUMNS = ("run", "command", "status", "started", "rows", *WORDS.values(), "owed")
ALWAYS = frozenset({"run", "command", "status", "started", "rows", "written", "rejected", "unchanged"})
# Columns that a narrow terminal omits, in this order. The id of a run begins with its start time, and what needs no
# attention goes before what does.
LEAST = ("started", "command", "unchanged", "rows", "written before", "left out", "held back", "drifted")


def render_runs(runs: Iterable[RunEntry], *, width: int) -> Iterator[str]:
    """A line for each run. Counts that are zero in all runs have no column."""
    cells = [_cells(run) for run in runs]
    shown = [name for name in COLUMNS if name in ALWAYS or any(line[name] != "0" for line in cells)]
    for name in LEAST:
        if name in shown and _width(shown, cells) > width:
            shown.remove(name)
    return render_table(shown, cells, width=width)


def _cells(run: RunEntry) -> dict[str, str]:
    figures = totals_of(run)
    return {
        "run": run.id,
        "command": run.command,
        "status": run.status.value,
        "started": f"{run.started_at:%Y-%m-%d %H:%M:%S}Z",
        # Removals are included in these counts.
        "rows": f"{figures.rows + figures.removals:,}",
        **{word: f"{getattr(figures, name):,}" for name, word in WORDS.items()},
        "owed": f"{run.owed:,}",
    }


def _width(names: Sequence[str], cells: Sequence[Mapping[str, str]]) -> int:
    widths = [max(map(cell_len, [name, *(line[name] for line in cells)])) for name in names]
    return sum(widths) + len(GAP) * (len(names) - 1)
