"""docs/tutorial.md and docs/demo.md: their files are written, their commands run in order, and the output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from business import ROOT
from doc_blocks import blocks

from dbt_stripe_sync.demo import run_demo
from dbt_stripe_sync.sandbox import Sandbox

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)?(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def sessions(block: str):
    """Each command of a console block with the lines that it is shown to print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown.splitlines()


def missing(shown: list[str], printed: list[str]) -> list[str]:
    """The shown lines that are not printed in this order; `…` matches any text, and alone on a line any lines."""
    rest = iter(printed)
    wanted = [line for line in shown if line != "…"]
    return [
        line
        for line in wanted
        if not any(re.fullmatch(".*".join(map(re.escape, line.split("…"))), other) for other in rest)
    ]


def edited(before: str, block: str) -> str:
    """A file after a block that shows it anew, or that shows one of its lines with what is added below it."""
    line = block.partition("\n")[0] + "\n"
    if before.startswith(line):
        return block
    assert before.count(line) == 1, line
    return before.replace(line, block)


@pytest.mark.slow
def test_the_tutorial_does_what_it_shows(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    ours = programs / "dbt-stripe-sync"
    ours.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dbt_stripe_sync "$@"\n')
    ours.chmod(0o755)
    folder = tmp_path / "club"
    folder.mkdir()
    commands = 0
    with Sandbox() as stripe:
        env = {
            **os.environ,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "STRIPE_API_KEY": "sk_test_sandbox000000000000",
            "STRIPE_API_BASE": stripe.url,
        }
        for language, title, text in BLOCK.findall(PAGE):
            if title:
                file = folder / title
                file.parent.mkdir(exist_ok=True)
                file.write_text(edited(file.read_text(), text) if file.exists() else text)
            elif language == "console" and "sandbox" not in text:
                for command, shown in sessions(text):
                    done = subprocess.run(
                        ["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False
                    )
                    printed = done.stdout.splitlines()
                    assert missing(shown, printed) == [], f"{command}\n{done.stdout}\n{done.stderr}"
                    commands += 1

    assert commands > 12


@pytest.mark.slow
def test_the_demo_prints_what_its_page_shows(tmp_path):
    (shown,) = (block for block in blocks("demo.md") if block.startswith("1. dbt build"))
    printed: list[str] = []

    assert run_demo(warehouse="duckdb", folder=tmp_path / "demo", say=printed.append) == 0

    lines = "\n".join(printed).splitlines()
    assert missing([line for line in shown.splitlines() if line.strip() != "…"], lines) == []
