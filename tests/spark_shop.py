"""A dbt project on a Spark cluster, whose rows the warehouse compares; each command is a driver of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from business import ROOT, as_a_user
from spark_cluster import SPARK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dbt_stripe_sync.sandbox import Sandbox

TESTS = ROOT / "tests"
# A killed driver's JVM ends by itself once it finds out, and holds the metastore until then.
SECONDS_TO_DIE = 120


@dataclass(frozen=True)
class Ran:
    """What a command said, and what came from the warehouse for the model."""

    text: str
    rows: int
    bytes: int


@dataclass
class SparkShop:
    """`programs` are those of an environment with dbt-spark; the one model is `c`, with the key `id`."""

    root: Path
    programs: Path
    stripe: Sandbox
    target: Mapping[str, Any]
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        (self.root / "models").mkdir(parents=True)
        target = {**self.target, "schema": "shop", "threads": 1}
        (self.root / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": {"dev": target}}}))
        settings = {"diff": "warehouse", "account_per_second": 100_000, "endpoint_per_second": 100_000}
        settings["warehouse_connect_timeout"] = SPARK_SECONDS  # a JVM that starts on a busy machine
        project = {"name": "shop", "version": "1.0", "profile": "shop", "models": {"+materialized": "table"}}
        (self.root / "dbt_project.yml").write_text(json.dumps(project | {"vars": {"stripe_sync": settings}}))
        path = os.pathsep.join([str(ROOT), str(TESTS)])
        quiet = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        self.environment = as_a_user({"STRIPE_API_KEY": self.stripe.api_key, "PYTHONPATH": path, **quiet})

    def build(self, select: str, **fields: Any) -> None:
        """Have dbt build the model of a query, its sync with these fields."""
        sync = {"resource": "customer", "key": "id", "fields": fields, "on_removed": "delete"}
        meta = {"stripe_sync": sync | {"limits": {"max_removed": "50%"}}}
        (self.root / "models" / "c.yml").write_text(json.dumps({"models": [{"name": "c", "config": {"meta": meta}}]}))
        (self.root / "models" / "c.sql").write_text(select)
        self._run([str(self.programs / "dbt"), "build", "--profiles-dir", "."])

    def run(self, *command: str) -> Ran:
        """A command of the program."""
        came = self.root / "came.json"
        text = self._run([self._python, str(TESTS / "travelled.py"), str(came), "--", *command, *self._options])
        of_model = json.loads(came.read_text()).get("c", {"rows": 0, "bytes": 0})
        return Ran(text=text, **of_model)

    def kill(self, point: str, nth: int) -> bool:
        """A run that dies the nth time that it reaches a point; returns whether it did."""
        doomed = [self._python, str(TESTS / "crash" / "doomed.py"), point, str(nth), "--", "run", *self._options]
        ran = subprocess.run(doomed, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        assert ran.returncode in {0, -signal.SIGKILL}, ran.stdout + ran.stderr
        lock, ends_at = self.root / "metastore_db" / "dbex.lck", time.monotonic() + SECONDS_TO_DIE
        while lock.exists() and time.monotonic() < ends_at:
            time.sleep(0.2)
        return ran.returncode != 0

    @property
    def _python(self) -> str:
        return str(self.programs / "python")

    @property
    def _options(self) -> list[str]:
        return ["--project-dir", ".", "--profiles-dir", ".", "--stripe-url", self.stripe.url]

    def _run(self, command: list[str]) -> str:
        ran = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return " ".join(ran.stdout.split())


def sent_by_executors(events: Path) -> int:
    """How many bytes the tasks of the newest driver sent to it, by the cluster's own count."""
    logs = [path for path in events.rglob("*") if path.is_file() and not path.name.startswith((".", "appstatus"))]
    sent = 0
    for line in max(logs, key=lambda path: path.stat().st_mtime).read_text().splitlines():
        event = json.loads(line)
        if event["Event"] == "SparkListenerTaskEnd":
            sent += (event.get("Task Metrics") or {}).get("Result Size", 0)
    return sent
