"""A user who builds a project with one of the engines, and syncs it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from business import as_a_user, run_cli
from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

    from business import Ran

    from dbt_stripe_sync.sandbox import Sandbox


class DbtUser(Struct, frozen=True):
    """A project, a dbt ("1" or "2"), and a local Stripe."""

    root: Path
    dbt: Path
    engine: str
    stripe: Sandbox

    def run_dbt(self, *arguments: str, plugin: str = "0") -> tuple[int, str]:
        environment = as_a_user({"DBT_STRIPE_SYNC_PLUGIN": plugin})
        command = [str(self.dbt), *arguments, "--profiles-dir", str(self.root)]
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def cli(self, *arguments: str) -> Ran:
        options = ["--project-dir", str(self.root), "--profiles-dir", str(self.root)]
        return run_cli(*arguments, *options, "--stripe-url", self.stripe.url)

    def start_over(self) -> None:
        """Leave nothing that was built but what dbt noted of it."""
        (self.root / "warehouse.duckdb").unlink()

    def where_people_were_built(self) -> list[str]:
        return [customer["metadata"]["built_in"] for customer in self.stripe.objects("customer")]
