"""What a command does not need, it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest
from business import ROOT

from dbt_stripe_sync.cli.commands import MODULES, SUMMARIES, commands

HEAVY = ("aiohttp", "duckdb", "jinja2", "pandas", "pyarrow", "stripe")


def imported_by(code):
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy():
    code = "from dbt_stripe_sync.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert imported_by(code) == set()


def test_reading_postgres_does_not_import_pandas():
    assert "pandas" not in imported_by("import dbt_stripe_sync.warehouse.postgres")


@pytest.mark.parametrize("name", MODULES)
def test_the_list_of_commands_says_of_each_what_its_own_help_says(name):
    command = commands.get_command(None, name)
    assert command.get_short_help_str(limit=200) == SUMMARIES[name]
    assert list(SUMMARIES) == list(MODULES)
