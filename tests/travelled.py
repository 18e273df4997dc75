"""The real command line, and how many rows and bytes of each model came from the warehouse: `travelled.py FILE -- …`.

Bytes are those of Arrow batches, which is how rows reach the program from any warehouse.
"""

from __future__ import annotations

import atexit
import json
import sys
from collections import defaultdict
from pathlib import Path

import pyarrow as pa

from dbt_stripe_sync.cli import main
from dbt_stripe_sync.engine.stage.extract import CountingWarehouse


def count_into(file: Path) -> None:
    """Write what has come, once the program ends."""
    came: defaultdict[str, dict[str, int]] = defaultdict(lambda: {"rows": 0, "bytes": 0})
    original = CountingWarehouse.rows

    def rows(self, source):
        reader = original(self, source)
        count = came[source.name]

        def counted():
            for batch in reader:
                count["rows"] += batch.num_rows
                count["bytes"] += batch.nbytes
                yield batch

        return pa.RecordBatchReader.from_batches(reader.schema, counted())

    CountingWarehouse.rows = rows
    atexit.register(lambda: file.write_text(json.dumps(came)))


if __name__ == "__main__":
    count_into(Path(sys.argv[1]))
    main(sys.argv[3:])
