"""A business to test with: a warehouse, models tagged in YAML, a local Stripe, and the real command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import duckdb
import pytest

from dbt_stripe_sync.cli import main

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "sample_dbt_project"


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    exit_code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that a person reads, without line breaks."""
        return " ".join((self.out + self.err).split())


def run_cli(*arguments: str) -> Ran:
    """The command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return Ran(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@dataclass
class Business:
    """A dbt project of any shape, as dbt leaves it behind: tables in a DuckDB file and a manifest."""

    root: Path
    stripe: Sandbox
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    database = "warehouse"
    schema = "main"

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.write_project()
        self.write_profile(self.profile)
        self.make_warehouse()

    @property
    def profile(self) -> dict[str, Any]:
        return {"type": "duckdb", "path": str(self.warehouse), "schema": self.schema}

    def write_profile(self, profile: dict[str, Any]) -> None:
        (self.root / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": {"dev": profile}}}))

    def make_warehouse(self) -> None:
        self.warehouse.write_bytes(_empty_warehouse())

    @property
    def warehouse(self) -> Path:
        return self.root / "warehouse.duckdb"

    @property
    def state(self) -> Path:
        return self.root / ".stripe_sync" / "dev.duckdb"

    def write_project(self) -> None:
        project = {"name": "shop", "version": "1.0", "profile": "shop", "vars": {"stripe_sync": self.settings}}
        (self.root / "dbt_project.yml").write_text(json.dumps(project))

    def set(self, **settings: Any) -> None:
        self.settings |= settings
        self.write_project()

    def table(self, name: str, select: str) -> None:
        """Build a model from a query."""
        with duckdb.connect(str(self.warehouse)) as warehouse:
            warehouse.execute(f'CREATE OR REPLACE TABLE "{name}" AS {select}')
        self.models.setdefault(name, {})
        self.write_manifest()

    def rows(self, name: str, *rows: tuple[Any, ...], columns: str) -> None:
        """Build a model from values; `columns` is `id int, email text`."""
        with duckdb.connect(str(self.warehouse)) as warehouse:
            warehouse.execute(f'CREATE OR REPLACE TABLE "{name}" ({columns})')
            for row in rows:
                warehouse.execute(f'INSERT INTO "{name}" VALUES ({", ".join("?" for _ in row)})', list(row))
        self.models.setdefault(name, {})
        self.write_manifest()

    def sync(self, model: str, **meta: Any) -> None:
        """Tag a model."""
        self.models.setdefault(model, {})["meta"] = {"stripe_sync": meta}
        self.write_manifest()

    def write_manifest(self) -> None:
        nodes = {}
        for name, model in self.models.items():
            unique_id = f"model.shop.{name}"
            nodes[unique_id] = {
                "unique_id": unique_id,
                "name": name,
                "resource_type": "model",
                "package_name": "shop",
                "original_file_path": f"models/{name}.sql",
                "patch_path": "shop://models/schema.yml",
                "fqn": ["shop", name],
                "tags": [],
                "config": {"materialized": model.get("materialized", "table"), "meta": model.get("meta", {})},
                "unrendered_config": {},
                "depends_on": {"nodes": []},
                "database": self.database,
                "schema": self.schema,
                "alias": name,
                "relation_name": f'"{self.database}"."{self.schema}"."{name}"',
                "columns": {},
            }
        metadata = {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
            "dbt_version": "1.11.16",
            "project_name": "shop",
            "adapter_type": "duckdb",
            "generated_at": "2026-01-01T00:00:00Z",
            "invocation_id": "x",
        }
        target = self.root / "target"
        target.mkdir(exist_ok=True)
        (target / "manifest.json").write_text(json.dumps({"metadata": metadata, "nodes": nodes}))
        results = [{"unique_id": unique_id, "status": "success"} for unique_id in nodes]
        (target / "run_results.json").write_text(json.dumps({"metadata": metadata, "results": results}))

    def cli(self, *arguments: str) -> Ran:
        """A command on this project; without one, `run`."""
        command = list(arguments) or ["run"]
        options = ["--project-dir", str(self.root), "--profiles-dir", str(self.root), "--stripe-url", self.stripe.url]
        return run_cli(*command, *options)

    def plan(self) -> list[dict[str, Any]]:
        """The changes of `plan`, one a row."""
        ran = self.cli("plan", "--format", "json", "--show-values")
        changes: list[dict[str, Any]] = json.loads(ran.out)["changes"]
        return changes

    def write_calls(self) -> list[str]:
        """The calls that could change Stripe, since the last look, as `POST /v1/customers`."""
        lines = [f"{line.method} {line.path}" for line in self.stripe.writes()]
        self.stripe.reset_requests()
        return lines


@cache
def _empty_warehouse() -> bytes:
    """A DuckDB file without a table. DuckDB takes a hundred times longer to make one than it takes to copy it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "warehouse.duckdb"
        duckdb.connect(str(file)).close()
        return file.read_bytes()


def as_a_user(environment: dict[str, str]) -> dict[str, str]:
    """What dbt sees where no test runs it: dbt 1.x believes in its own tests otherwise, and waits for ever for a node
    whose event it could not log.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"} | environment


def build_with_dbt(dbt: Path, project: Path, target: str, environment: dict[str, str]) -> None:
    """A real `dbt build`."""
    command = [str(dbt), "build", "--target", target, "--project-dir", str(project), "--profiles-dir", str(project)]
    done = subprocess.run(command, cwd=project, env=as_a_user(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def by_hand(business: Business, path: str, method: str = "POST", **params: Any) -> Any:
    """Somebody works in the Dashboard: a request of their own."""
    request = Request(  # noqa: S310 - the local Stripe
        f"{business.stripe.url}/v1/{path}",
        data=urlencode(params).encode() if method == "POST" else None,
        method=method,
        headers={"Authorization": f"Bearer {business.stripe.api_key}"},
    )
    with urlopen(request) as answer:  # noqa: S310
        return json.load(answer)
