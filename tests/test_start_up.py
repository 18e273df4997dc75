"""A command imports only what it needs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib

import click
import pytest
from business import ROOT
from click.testing import CliRunner

from dbt_stripe_sync.cli.commands import EXAMPLES, MODULES, SUMMARIES, commands

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


# What only a state on an object store, dbt Cloud, `serve`, alerts, the log in the warehouse and orchestrators need.
LIBRARIES = {
    *("obstore", "boto3", "sqlite3", "aiohttp.web", "http.server", "pandas", "prometheus_client"),
    *("airflow", "dagster", "prefect", "dbt"),
}
PARTS = {
    *("state.remote", "state.logged", "warehouse.log", "warehouse_log", "report.alert"),
    *("cloud", "serve", "integrations", "sandbox", "demo", "authoring"),
}
ELSEWHERE = LIBRARIES | {f"dbt_stripe_sync.{part}" for part in PARTS}


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_plain_project_imports_none_of_the_optional_parts(customers, command):
    options = ["--project-dir", str(customers.root), "--profiles-dir", str(customers.root)]
    arguments = [command, *options, "--stripe-url", customers.stripe.url]
    script = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr))\n"
        f"from dbt_stripe_sync.cli import main\nmain({arguments!r})"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    imported = json.loads(done.stderr.splitlines()[-1])
    assert "dbt_stripe_sync.pipeline" in imported
    assert ELSEWHERE & set(imported) == set()


def test_the_coverage_session_deselects_an_existing_test():
    (path, name) = re.findall(r'"(tests/[\w/]+\.py)::(\w+)"', (ROOT / "noxfile.py").read_text())[0]
    assert f"def {name}(" in (ROOT / path).read_text()


def test_installing_the_package_alone_installs_no_orchestrator():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=!~;\[ ]", line)[0] for line in project["dependencies"]}

    extras = project["optional-dependencies"]
    wanted = {re.split(r"[<>=!~;\[ ]", line)[0] for name in OF_EXTRAS for line in extras[name]}
    assert wanted
    assert needed & wanted == set()


OF_EXTRAS = ("object-store", "dagster", "airflow", "prefect")


@pytest.mark.parametrize("name", MODULES)
def test_the_list_of_commands_matches_each_commands_help(name):
    command = commands.get_command(None, name)
    assert command.get_short_help_str(limit=200) == SUMMARIES[name]
    assert list(SUMMARIES) == list(MODULES)


def every_command():
    for name in MODULES:
        yield name
        command = commands.get_command(click.Context(commands), name)
        if isinstance(command, click.Group):
            yield from (f"{name} {part}" for part in command.commands)


@pytest.mark.parametrize("name", list(every_command()))
def test_each_help_has_examples_and_fits_in_80_columns(name):
    ran = CliRunner().invoke(commands, [*name.split(), "--help"], terminal_width=80, prog_name="dbt-stripe-sync")

    lines = ran.output.splitlines()
    assert "  Examples:" in lines
    assert [line for line in lines if len(line) > 80] == []
    assert all(f"    dbt-stripe-sync {example}" in lines for example in EXAMPLES[name])


@pytest.mark.parametrize("example", [example for examples in EXAMPLES.values() for example in examples])
def test_each_example_is_a_valid_command_line(example):
    words = shlex.split(example)
    command: click.Command = commands
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))

    command.make_context(example, words)
