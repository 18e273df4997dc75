"""dbt projects: manifests as dbt writes them, and a small project with every trap, built by a real dbt."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from business import as_a_user
from msgspec import Struct

from dbt_stripe_sync.dbt.manifest import Manifest, read_manifest
from dbt_stripe_sync.model.errors import Location
from dbt_stripe_sync.model.lifecycle import Mode, Removal
from dbt_stripe_sync.model.sync import Limits, OnAmbiguous, Sync

if TYPE_CHECKING:
    from dbt_stripe_sync.model.errors import Problem, SyncError
    from dbt_stripe_sync.model.nodes import ModelNode

PROJECT = Path(__file__).parent / "shop"


def text_of_problem(problem: Problem) -> str:
    """A problem as the command line prints it."""
    lines = [f"{problem.severity.value}[{problem.code}]: {problem.summary}", f"  at {problem.where}"]
    return "\n".join([*lines, "", f"hint: {problem.hint}"] if problem.hint else lines)


def text_of(error: SyncError) -> str:
    """All of an error's problems."""
    return "\n\n".join(text_of_problem(problem) for problem in error.problems)


def sync_of(name: str, model: ModelNode) -> Sync:
    """A sync of a model; what it maps plays no part here."""
    return Sync(
        name=name,
        project="shop",
        model=model,
        resource="customer",
        key=("id",),
        mode=Mode.UPSERT,
        match=(),
        fields=(),
        on_removed=Removal.IGNORE,
        on_ambiguous=OnAmbiguous.REJECT,
        limits=Limits(),
        depends_on=(),
        options={},
        fingerprint="",
        where=Location(model=model.name),
    )


@dataclass
class ManifestFile:
    """A manifest in the making, with the keys that every version of dbt writes."""

    target: Path
    metadata: dict[str, Any] = field(
        default_factory=lambda: {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
            "dbt_version": "1.11.16",
            "project_name": "shop",
            "adapter_type": "duckdb",
            "generated_at": "2026-01-01T00:00:00Z",
            "invocation_id": "first",
        }
    )
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    unit_tests: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.target / "manifest.json"

    @property
    def root(self) -> Path:
        return self.target.parent

    def model(self, name: str, *parents: str, kind: str = "model", package: str = "shop", **keys: Any) -> str:
        unique_id = f"{kind}.{package}.{name}"
        node = {
            "name": name,
            "resource_type": kind,
            "package_name": package,
            "original_file_path": f"models/{name}.sql",
            "patch_path": f"{package}://models/schema.yml",
            "fqn": [package, name],
            "config": {"materialized": "table"},
            "depends_on": {"nodes": list(parents)},
            "database": "dev",
            "schema": "main",
            "alias": name,
            "relation_name": f'"dev"."main"."{name}"',
        }
        self.nodes[unique_id] = node | keys
        return unique_id

    def test(self, name: str, *guarded: str, attached: str | None = None, severity: str = "ERROR") -> str:
        unique_id = f"test.shop.{name}.0123456789"
        self.nodes[unique_id] = {
            "name": name,
            "resource_type": "test",
            "attached_node": attached,
            "depends_on": {"nodes": list(guarded)},
            "config": {"severity": severity},
        }
        return unique_id

    def write(self) -> Path:
        self.target.mkdir(parents=True, exist_ok=True)
        parts = {"metadata": self.metadata, "nodes": self.nodes, "unit_tests": self.unit_tests}
        self.path.write_bytes(orjson.dumps(parts))
        return self.path

    def read(self) -> Manifest:
        return read_manifest(self.write())


class Built(Struct, frozen=True):
    """A project that a dbt has built, as far as it could be built."""

    root: Path
    exit_code: int
    said: str

    @property
    def manifest(self) -> Path:
        return self.root / "target" / "manifest.json"

    @property
    def results(self) -> Path:
        return self.root / "target" / "run_results.json"


def build_shop(dbt: Path, folder: Path, *, target: str = "duckdb", environment: dict[str, str] | None = None) -> Built:
    root = Path(shutil.copytree(PROJECT, folder))
    command = [str(dbt), "build", "--profiles-dir", str(root), "--target", target]
    done = subprocess.run(
        command,
        cwd=root,
        env=as_a_user({"DBT_STRIPE_SYNC_PLUGIN": "0"} | (environment or {})),
        capture_output=True,
        text=True,
        check=False,
    )
    return Built(root, done.returncode, done.stdout + done.stderr)
