"""Stripe's own mock takes every request that the tests made, and Stripe's specification every answer that they got."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
from recording import FOLDER, shape_of
from stripe_specification import Mock, Specification, install

pytestmark = [pytest.mark.contract, pytest.mark.timeout(1800)]

TESTS = Path(__file__).parent.parent
# What the SDK has and the mock's specification, two months older, has not: the operation, the parameter (all of it where
# none is named), and why it is right here.
NEWER_IN_THE_SDK: dict[str, dict[str, str]] = {}
NEWER_RESOURCES: dict[str, str] = {}


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Every shape of request and answer of the whole suite: what was recorded before, or what a run of it says now."""
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else tmp_path_factory.mktemp("recorded")
    if not named:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", str(TESTS)]
        done = subprocess.run(command, env={**os.environ, FOLDER: str(folder)}, check=False, stdout=sys.stderr)
        assert done.returncode == 0
    lines = [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]
    assert len(lines) > 300, f"{folder} holds too little to judge by"
    return lines


@pytest.fixture(scope="session")
def stripes_own(tmp_path_factory):
    if shutil.which("go") is None:
        pytest.skip("the Go toolchain, which installs Stripe's mock, is not here")
    return install(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="session")
def mock(stripes_own):
    running = Mock(stripes_own[0])
    yield running
    running.stop()


@pytest.fixture(scope="session")
def specification(stripes_own):
    return Specification(stripes_own[1])


def without_newer(line):
    """The form without what the mock is too old for."""
    newer = NEWER_IN_THE_SDK.get(line["endpoint"], {})
    kept = [pair for pair in line["form"].split("&") if not _is_newer(pair, newer)]
    return "&".join(kept)


def _is_newer(pair, newer):
    name = unquote_plus(pair.partition("=")[0])
    return any(name == known or name.startswith(f"{known}[") or unquote_plus(pair) == known for known in newer)


def test_stripes_mock_accepts_every_request_that_the_tests_made(recorded, mock):
    refused = Counter()
    for line in recorded:
        if line["new_request"] and line["endpoint"].rpartition(".")[0] not in NEWER_RESOURCES:
            why = mock.refusal(line["method"], line["path"], without_newer(line))
            if why is not None:
                refused[f"{line['endpoint']} {line['method']} {line['path']}: {why}\n    {unquote_plus(line['form'])[:2000]}"] += 1

    assert not refused, "\n".join(refused)


def test_stripes_specification_accepts_every_answer_of_the_sandbox(recorded, specification):
    seen, faults = set(), Counter()
    for line in recorded:
        shape = (line["endpoint"], shape_of(line["answer"]))
        if line["answer"] is None or shape in seen or not specification.knows(line["method"], line["path"]):
            continue
        seen.add(shape)
        for fault in specification.faults(line["method"], line["path"], line["answer"]):
            faults[f"{line['endpoint']} {fault}"] += 1

    assert len({endpoint for endpoint, _ in seen}) > 100
    assert not faults, "\n".join(f"{count} x {fault}" for fault, count in faults.most_common())
