"""Hashes rows on Spark through dbt-spark, in its own environment: queries on standard input, one JSON object a line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dbt_stripe_sync.model.hashes import ROW_HASH, HashedRows
from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse import open_warehouse
from dbt_stripe_sync.warehouse.registry import open_row_diffs
from dbt_stripe_sync.warehouse.requests import AdapterRequest

ANSWERS = sys.stdout


def main(root: Path) -> None:
    """Answer each query with what is read of each row, and its hash."""
    sys.stdout = sys.stderr  # Spark speaks as well
    target = json.loads((root / "profiles.yml").read_text())["shop"]["outputs"]["dev"]
    adapter = AdapterRequest(project_dir=root, profiles_dir=root)
    warehouse = open_warehouse(target, project_root=root, adapter=adapter)
    diffs = open_row_diffs(target, "stripe_sync", warehouse)
    for line in sys.stdin:
        wanted = json.loads(line)
        source = RowSource(name="m", relation=None, sql=wanted["sql"], columns=tuple(wanted["columns"]))
        asked = HashedRows(sync="s", source=source, key=("whole",), salt=wanted["salt"])
        rows = warehouse.rows(diffs.all_rows(asked)).read_all().to_pylist()
        found = [(repr(sorted(row.items())), hashed) for row in rows for hashed in [row.pop(ROW_HASH)]]
        print(json.dumps(found), file=ANSWERS, flush=True)
    warehouse.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
