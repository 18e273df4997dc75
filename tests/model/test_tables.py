"""Tables equal what pyarrow's own constructors build from the same rows, without the pandas that those import."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.model.tables import build_table

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("small", pa.int32()),
        ("large", pa.int64()),
        ("hash", pa.uint64()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)
ROWS = st.lists(
    st.tuples(
        st.none() | st.text(),
        st.none() | st.integers(-(2**31), 2**31 - 1),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.integers(0, 2**64 - 1),
        st.none() | st.booleans(),
        st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()),
    ),
    max_size=40,
)


@given(rows=ROWS)
def test_a_table_equals_the_one_that_pyarrow_builds_from_the_same_rows(rows):
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    expected = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )

    made = build_table(SCHEMA, rows)

    made.validate(full=True)
    assert made == expected


@pytest.mark.parametrize(
    ("column", "value"),
    [("small", 2**31), ("hash", -1), ("hash", "1"), ("text", 1), ("at", datetime(2026, 1, 1))],
)
def test_a_value_that_a_column_cannot_hold_is_rejected(column, value):
    row = tuple(value if name == column else None for name in SCHEMA.names)

    with pytest.raises((TypeError, ValueError, OverflowError)):
        build_table(SCHEMA, [row])


def test_tables_never_import_pandas():
    script = (
        "import sys, pyarrow as pa; from datetime import UTC, datetime\n"
        "from dbt_stripe_sync.model.tables import build_table\n"
        "schema = pa.schema([('a', pa.string()), ('b', pa.bool_()), ('c', pa.timestamp('us', tz='UTC'))])\n"
        "build_table(schema, [('x', True, datetime.now(UTC)), (None, None, None)]).to_reader()\n"
        "print('pandas' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "False"
