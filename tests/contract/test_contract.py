"""Stripe's own mock takes every request that the tests made, and Stripe's specification every answer that they got.

What no sync may write is left out: the tests ask it of the local Stripe only to see that nothing there breaks. Calls of
API v2 are left out as well, since neither the mock nor the specification knows them: the SDK's types alone judge those.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from recording import FOLDER, shape_of, start_recording
from stripe_specification import Mock, Specification, install

from dbt_stripe_sync.demo import run_demo
from dbt_stripe_sync.stripe_api.refusals import REFUSED

# One process for both: what all tests said is gathered once.
pytestmark = [pytest.mark.contract, pytest.mark.timeout(1800), pytest.mark.xdist_group("contract")]

TESTS = Path(__file__).parent.parent
# What the SDK (API 2026-10-28.endive) has and the mock's specification (2026-08-26.dahlia) has not: by operation, the
# parameter or the one value of it, and why it is right here. A new release of the mock makes this shorter.
BEYOND_THE_MOCK: dict[str, dict[str, str]] = {
    "account.create": {"external_account": "the specification knows its token alone, the SDK its details as well"},
    "customer.update": {"validate": "a newer parameter"},
    "payment_method_configuration.create": {"paypay": "a newer method", "sequra": "a newer method"},
    "product.create": {"type": "the SDK takes it at creation, and the specification does not know it"},
    "tax.registration.create": {"country_options[us]": "newer kinds of tax in the United States"},
    "tax_rate.create": {"tax_type=admissions_tax": "a newer kind of tax"},
    "terminal.configuration.create": {"reader_security": "a newer setting", "stripe_t600": "a newer reader"},
}
NEWER_RESOURCES: dict[str, str] = {
    "product_catalog.trial_offer": "a newer resource of the SDK",
    "tax.location": "a newer resource of the SDK",
}
NEWER_OPERATIONS: dict[str, str] = {
    "subscription.pause": "a newer operation (docs.stripe.com/changelog/endive/2026-09-30)"
}
ANSWERS_BEYOND = {"tax_rate.create": ("$.tax_type: $.tax_type: 'admissions_tax' is not one of",)}
# How the local Stripe answers these is a guess that docs/sandbox.md documents: with their parameters, unchanged.
SHOWN_AS_GIVEN = frozenset(
    {
        "account",
        "account.person",
        "billing_portal.configuration",
        "issuing.card",
        "issuing.cardholder",
        "payment_method_configuration",
        "tax.registration",
    }
)


@pytest.fixture(scope="session")
def stripes_own(tmp_path_factory):
    if shutil.which("go") is None:
        pytest.skip("the Go toolchain, which installs Stripe's mock, is not here")
    return install(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="session")
def recorded(stripes_own, tmp_path_factory):  # noqa: ARG001 - without Go there is nothing to record for
    """Every shape of request and answer of all tests and the demo: what was recorded before, or what they say now."""
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else tmp_path_factory.mktemp("recorded")
    if not named:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", str(TESTS)]
        done = subprocess.run(command, env={**os.environ, FOLDER: str(folder)}, check=False, stdout=sys.stderr)
        assert done.returncode == 0
        start_recording(folder)
    # The demo speaks from this process, which keeps what is said in any case.
    assert run_demo(warehouse="duckdb", folder=tmp_path_factory.mktemp("demo") / "brightdesk", say=print) == 0
    lines = [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]
    assert len(lines) > 300, f"{folder} holds too little to judge by"
    return [line for line in lines if line["resource"] not in REFUSED]


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
    newer = BEYOND_THE_MOCK.get(line["endpoint"], {})
    kept = [pair for pair in line["form"].split("&") if not _is_newer(pair, newer)]
    return "&".join(kept)


def _is_newer(pair, newer):
    name = unquote_plus(pair.partition("=")[0])
    return any(name == known or name.startswith(f"{known}[") or unquote_plus(pair) == known for known in newer)


def test_stripes_mock_accepts_every_request_that_the_tests_made(recorded, mock):
    refused: Counter[str] = Counter()
    for line in recorded:
        is_newer = line["resource"] in NEWER_RESOURCES or line["endpoint"] in NEWER_OPERATIONS
        if line["new_request"] and not is_newer:
            why = mock.refusal(line["method"], line["path"], without_newer(line))
            if why is not None:
                refused[f"{line['endpoint']}: {why}\n    {unquote_plus(line['form'])[:2000]}"] += 1

    assert not refused, "\n".join(refused)


def test_stripes_specification_accepts_every_answer_of_the_sandbox(recorded, specification):
    seen: set[Any] = set()
    faults: Counter[str] = Counter()
    for line in recorded:
        shape = (line["endpoint"], shape_of(line["answer"]))
        if line["answer"] is None or shape in seen or not specification.knows(line["method"], line["path"]):
            continue
        seen.add(shape)
        if line["resource"] in SHOWN_AS_GIVEN:
            continue
        for fault in specification.faults(line["method"], line["path"], line["answer"]):
            if not any(fault.startswith(known) for known in ANSWERS_BEYOND.get(line["endpoint"], ())):
                faults[f"{line['endpoint']} {fault}"] += 1

    assert len({endpoint for endpoint, _ in seen}) > 100
    assert not faults, "\n".join(f"{count} x {fault}" for fault, count in faults.most_common())
