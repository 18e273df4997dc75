"""The statements of `diff: warehouse` for Snowflake, run on fakesnow, an emulator on DuckDB."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from business import ROOT, as_a_user

pytestmark = [pytest.mark.adapters, pytest.mark.timeout(600)]
ONE, TWO, FOUR, FIVE = '["1","m"]', '["2","a\\"b"]', '["4","m"]', '["5","m"]'
# Of four rows one has no key, and three have a hash.
ALWAYS = [["counts", "4 1 3"], ["new", None]]


def test_the_statements_for_snowflake_find_what_changed_and_keep_its_copy(environment_of, tmp_path):
    program = Path(__file__).with_name("fakesnow_diff.py")
    ran = subprocess.run(
        [environment_of("fakesnow") / "python", program],
        cwd=tmp_path,
        env=as_a_user({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr
    changes = [["changed", ONE], ["changed", FOUR], ["counts", "4 1 3"], ["gone", TWO], ["new", FIVE], ["new", None]]
    assert json.loads(ran.stdout) == {
        "marks before": True,
        "believed": True,
        "no change": ALWAYS,
        "asked for": [["changed", ONE], *ALWAYS],
        # Another list, a row that is gone, a new one, and one whose child rows alone have changed.
        "changes": changes,
        "refused": False,
        "still believed": True,
        "had": [ONE, TWO, FOUR],
        "changed": True,
        "believed then": True,
        "after": ALWAYS,
        "lines": 2,
    }
