"""What a shell completes: commands, their options, and the words that an option takes."""

from __future__ import annotations

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
def test_a_shell_is_told_how_a_word_goes_on(words, expected):
    line = " ".join(["dbt-stripe-sync", *words])

    told = run([PROGRAM], _DBT_STRIPE_SYNC_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words)))

    assert {entry.split(",")[1] for entry in told.split()} == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_one_that_it_reads(shell, tmp_path):
    script = tmp_path / f"completion.{shell}"
    script.write_text(run([PROGRAM], _DBT_STRIPE_SYNC_COMPLETE=f"{shell}_source"))

    assert "dbt-stripe-sync" in script.read_text()
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    run([program, "-n", str(script)])
