"""Creates a DuckLake and reads it with the reader's settings for each form of profile; prints the results as JSON.

It runs where DuckDB 1.4 and its extension for DuckLake are installed: `python ducklake.py FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import duckdb_ext

from dbt_stripe_sync.warehouse.duckdb_profile import parse_profile

ROOT = Path(sys.argv[1])
LAKE = "ducklake:meta.ducklake"
FORMS: dict[str, Any] = {
    "path": {"path": LAKE},
    "attach": {"path": ":memory:", "database": "lake", "attach": [{"path": LAKE, "alias": "lake"}]},
    "options": {
        "path": ":memory:",
        "database": "lake",
        "attach": [{"path": LAKE, "alias": "lake", "is_ducklake": True, "options": {"data_path": f"{ROOT}/files/"}}],
    },
}


def connect():
    connection = duckdb.connect()
    (extension,) = Path(duckdb_ext.__file__).parent.rglob("ducklake.duckdb_extension")
    connection.load_extension(str(extension))
    return connection


with connect() as lake:
    lake.execute(f"ATTACH 'ducklake:{ROOT}/meta.ducklake' AS lake (DATA_PATH '{ROOT}/files/')")
    lake.execute("CREATE SCHEMA lake.shop; CREATE TABLE lake.shop.customers AS SELECT 1 AS id, 'Ann' AS name")

found = {}
for form, target in FORMS.items():
    profile = parse_profile({"type": "duckdb", **target}, ROOT)
    with connect() as reader:
        for attachment in profile.attachments:
            reader.execute(attachment.sql)
        rows = reader.execute(f'SELECT * FROM "{profile.database}".shop.customers').fetchall()
        try:
            reader.execute(f'DELETE FROM "{profile.database}".shop.customers')
            found[form] = "was written to"
        except duckdb.InvalidInputException:
            found[form] = rows
print(json.dumps(found))
