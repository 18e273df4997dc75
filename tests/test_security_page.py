"""The security page names an existing test for each promise."""

from __future__ import annotations

import re
import subprocess
import sys

from business import ROOT

from dbt_stripe_sync.engine.payload import template_limits
from dbt_stripe_sync.stripe_api import gateway_http

PAGE = (ROOT / "docs" / "security.md").read_text()


def promises():
    section = PAGE.partition("## Promises")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def test_every_promise_names_an_existing_test():
    assert len(promises()) > 10
    for line in promises():
        named = re.findall(r"`(tests/[\w/]+\.py)`", line)
        assert named, line
        assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_numbers_on_the_page_match_the_code():
    assert f"{template_limits.MOST_STEPS:,} steps, {template_limits.MOST_SECONDS:g} s" in PAGE
    assert f"{template_limits.MOST_CHARACTERS:,} characters" in PAGE
    assert f"{gateway_http.MOST_BYTES // 1024 // 1024} MB" in PAGE
    assert f"{gateway_http.ANSWER_SECONDS:g} s; after {gateway_http.PATIENCE_SECONDS:g} s" in PAGE


def test_every_dependency_has_a_permissive_licence():
    done = subprocess.run([sys.executable, str(ROOT / ".ci" / "licenses.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
