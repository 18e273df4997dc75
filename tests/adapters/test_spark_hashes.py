"""The hash of a row on Spark changes whenever the row reads differently: values of every type."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from business import ROOT, as_a_user
from hash_values import ROWS, TYPES, check_all, check_one_hash_a_row, one_column_each, values_sql
from hypothesis import HealthCheck, given, settings
from spark_cluster import SPARK_SECONDS

pytestmark = [pytest.mark.adapters, pytest.mark.timeout(2 * SPARK_SECONDS)]


@pytest.fixture(scope="module")
def hashed_rows(environment_of, tmp_path_factory):
    """What is read of each row beside its hash, from one Spark for all tests."""
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    root = tmp_path_factory.mktemp("spark-hashes")
    settings_ = {
        "spark.master": "local[1]",
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": str(root / "warehouse"),
        # A zone that is not UTC, and has summer time.
        "spark.sql.session.timeZone": "Europe/Berlin",
    }
    target = {"type": "spark", "method": "session", "host": "local", "schema": "default", "threads": 1}
    outputs = {"dev": target | {"server_side_parameters": settings_}}
    (root / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": outputs}}))
    (root / "dbt_project.yml").write_text(json.dumps({"name": "shop", "version": "1.0", "profile": "shop"}))
    with (root / "errors.txt").open("w") as errors:
        program = subprocess.Popen(
            [environment_of("spark") / "python", Path(__file__).with_name("spark_hashes.py"), root],
            cwd=root,
            env=as_a_user({"PYTHONPATH": str(ROOT)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def hashed(rows, salt="salt"):
        types = TYPES["spark"]
        names = ", ".join(
            f"`{name}` COLLATE {kind.split(' COLLATE ')[1]} AS `{name}`" if " COLLATE " in kind else f"`{name}`"
            for name, kind in types.items()
        )
        columns = ", ".join(f"`{name}`" for name in types)
        query = f"SELECT {names} FROM VALUES {values_sql('spark', rows)} AS t({columns})"
        program.stdin.write(json.dumps({"sql": query, "columns": list(types), "salt": salt}) + "\n")
        program.stdin.flush()
        answer = program.stdout.readline()
        assert answer, (root / "errors.txt").read_text()[-3000:]
        return [(row, hash_) for row, hash_ in json.loads(answer)]

    yield hashed
    program.communicate()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_different_rows_have_different_hashes(hashed_rows, rows):
    check_one_hash_a_row(hashed_rows(rows))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(row=ROWS.map(lambda rows: rows[0]), others=ROWS.map(lambda rows: rows[1]))
def test_each_column_by_itself_changes_the_hash(hashed_rows, row, others):
    check_one_hash_a_row(hashed_rows(one_column_each(row, others)))


def test_hashes_depend_on_the_column_and_the_salt_and_treat_documents_as_text(hashed_rows):
    check_all("spark", hashed_rows)
