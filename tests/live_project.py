"""Small dbt projects, written by a test and built by a real dbt, with the real command line next to it."""

from __future__ import annotations

import os
import subprocess
from textwrap import dedent
from typing import TYPE_CHECKING

from business import Ran, run_cli
from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.sandbox import Sandbox

PROJECT = """
name: club
version: "1.0"
profile: club
models: {+materialized: table}
vars: {stripe_sync: {account_per_second: 100000, endpoint_per_second: 100000}}
"""
PROFILES = """
club:
  target: dev
  outputs:
    dev: {type: duckdb, path: dev.duckdb, threads: 1}
    prod: {type: duckdb, path: prod.duckdb, threads: 1}
"""


class LiveProject(Struct, frozen=True):
    """A project in a folder. `program` is the dbt that builds it."""

    root: Path
    program: Path
    stripe: Sandbox

    def file(self, path: str, text: str) -> None:
        """Write a file of the project."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip())

    def dbt(self, *arguments: str, succeeds: bool = True, **environment: str) -> str:
        """Run dbt; what it said."""
        done = subprocess.run(
            [str(self.program), *arguments, "--profiles-dir", str(self.root)],
            cwd=self.root,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is succeeds, said
        return said

    def cli(self, *arguments: str) -> Ran:
        """Our command line."""
        # A group's options belong to its commands: `log write --project-dir …`.
        words = 2 if arguments[:1] in {("log",), ("state",)} else 1
        command, rest = arguments[:words] or ("run",), arguments[words:]
        options = ["--project-dir", str(self.root), "--profiles-dir", str(self.root), "--stripe-url", self.stripe.url]
        return run_cli(*command, *options, *rest)


def new_project(root: Path, program: Path, stripe: Sandbox) -> LiveProject:
    """One without models."""
    project = LiveProject(root, program, stripe)
    project.file("dbt_project.yml", PROJECT)
    project.file("profiles.yml", PROFILES)
    return project
