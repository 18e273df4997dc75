"""What a shell completes: commands, their options, and the words that an option takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("dbt-stripe-sync"))


def run(command, **environment):
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment}).stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], {"state"}),
        (["pl"], {"plan"}),
        (["plan", "--ou"], {"--out", "--output"}),
        (["report", "--output", ""], {"html", "text", "json"}),
        (["state", "reb"], {"rebuild"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices(words, expected):
    assert completed(words) == expected


def completed(words):
    line = " ".join(["dbt-stripe-sync", *words])
    shown = run([PROGRAM], _DBT_STRIPE_SYNC_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words)))
    return {entry.split(",")[1] for entry in shown.split()}


@pytest.mark.slow
def test_a_shell_completes_names_of_the_project(customers):
    customers.rows("orders", (1, 2), columns="id int, amount int")
    customers.cli()
    (run_id,) = (json.loads(line)["run"] for line in customers.cli("runs", "--output", "json").out.splitlines())
    project = ["--project-dir", str(customers.root), "--profiles-dir", str(customers.root)]

    assert completed(["show", *project, "cu"]) == {"customers"}
    assert completed(["state", "forget", *project, "c"]) == {"customers"}
    assert completed(["plan", *project, "--select", "or"]) == {"orders"}
    assert completed(["init", *project, "o"]) == {"orders"}
    assert completed(["undo", *project, "20"]) == {run_id}
    assert completed(["fields", "subscription_s"]) == {"subscription_schedule"}


def test_without_a_project_completion_offers_no_names_and_prints_no_error(tmp_path):
    assert completed(["show", "--project-dir", str(tmp_path), "c"]) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_accepts_its_completion_script(shell, tmp_path):
    script = tmp_path / f"completion.{shell}"
    script.write_text(run([PROGRAM], _DBT_STRIPE_SYNC_COMPLETE=f"{shell}_source"))

    assert "dbt-stripe-sync" in script.read_text()
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    run([program, "-n", str(script)])
