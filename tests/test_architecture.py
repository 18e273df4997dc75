"""The house rules: which part of the project may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "dbt_stripe_sync"
PACKAGE = "dbt_stripe_sync"
MODULES = sorted(ROOT.rglob("*.py"))
BANNED_NAMES = {"utils", "helpers", "base", "manager", "common"}
IMPORT_DBT = {"dbt/plugin.py", "warehouse/dbt_build.py"}


@cache
def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, in full; relative imports do not occur."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@cache
def ours(path: Path) -> set[str]:
    return {name.removeprefix(f"{PACKAGE}.") for name in imports_of(path) if name.startswith(f"{PACKAGE}.")}


def modules_of(part: str) -> list[Path]:
    return [path for path in MODULES if path.relative_to(ROOT).parts[0] == part]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_parts_import_only_what_the_contracts_in_pyproject_allow():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT.parent, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_line_holds_no_logic():
    allowed = (
        "cli.",
        "api.",
        "workload.ProjectOptions",
        "report",
        "model.",
    )
    local = ("sandbox.", "demo.", "__version__", "cloud.", "serve.", "alerts.", "serve")
    for path in modules_of("cli"):
        assert all(name.startswith((*allowed, *local)) for name in ours(path)), f"{name_of(path)} imports {ours(path)}"


def test_the_sandbox_shares_only_the_catalog_with_the_client_that_it_judges():
    allowed = ("sandbox", "stripe_api.rules", "stripe_api.catalog", "stripe_api.lifecycle", "stripe_api.sdk", "model.")
    for path in modules_of("sandbox"):
        assert all(name.startswith(allowed) for name in ours(path)), f"{name_of(path)} imports {ours(path)}"


@pytest.mark.parametrize("part", ["cloud", "serve", "integrations"])
def test_only_the_command_line_knows_where_it_runs(part):
    for path in MODULES:
        if path.relative_to(ROOT).parts[0] not in {"cli", "serve", "integrations", part}:
            known = {name for name in ours(path) if name.startswith(f"{part}.")}
            assert not known, f"{name_of(path)} imports {known}"


def test_only_two_files_import_dbt():
    for path in MODULES:
        if any(name == "dbt" or name.startswith("dbt.") for name in imports_of(path)):
            assert name_of(path) in IMPORT_DBT


def test_only_the_gateway_calls_stripe():
    for path in MODULES:
        if any(name == "stripe" or name.startswith("stripe.") for name in imports_of(path)):
            assert name_of(path).startswith(("stripe_api/gateway", "stripe_api/catalog", "stripe_api/sdk")), name_of(
                path
            )


def test_modules_are_named_after_their_contents():
    assert [name_of(path) for path in MODULES if path.stem in BANNED_NAMES] == []
