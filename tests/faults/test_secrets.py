"""Whatever goes wrong, neither the key nor a row's value is left in any text, log, report, artifact or scratch file.

The state's folder is the one place for values: it holds what was sent, and only its owner may read it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from business import ROOT
from fault_table import CREATION

from dbt_stripe_sync.sandbox import Fault

KEY = "sk_test_51MarkedKeyThatMustNeverBeSeen0123456789"
MAIL, NAME = "marked.person@example.com", "Marked Person Zq4f2aXw"
MARKS = (KEY, KEY[8:], MAIL, NAME, "marked.person", "Zq4f2aXw")
# Where rows may be: the warehouse that they come from, and the state.
BY_RIGHT = {"warehouse.duckdb", ".stripe_sync"}
# A fault of our own, which nobody has foreseen: it comes as a traceback.
BROKEN = """
import sys
from dbt_stripe_sync.cli import main
from dbt_stripe_sync.engine.apply import send
def broken(intent):
    raise RuntimeError("nobody has foreseen this")
send._record_after = broken
main(sys.argv[1:])
"""


@pytest.fixture
def marked(customers):
    """Rows with values that can be searched for, the first of which Stripe refuses and repeats in its message."""
    rows = [(1, "marked.person", NAME), (2, MAIL, NAME), (3, f"x.{MAIL}", f"{NAME} Jr")]
    customers.rows("customers", *rows, columns="id int, email text, name text")
    return customers


def start(business, scratch, *command, program=("-m", "dbt_stripe_sync")):
    scratch.mkdir(exist_ok=True)
    root = str(business.root)
    options = ["--project-dir", root, "--profiles-dir", root, "--stripe-url", business.stripe.url]
    return subprocess.Popen(
        [sys.executable, *program, *(command or ("run",)), *options],
        env={**os.environ, "STRIPE_API_KEY": KEY, "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)},
        cwd=scratch,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def left_behind(business, *folders):
    """Every file outside the places where rows may be."""
    for folder in (business.root, *folders):
        for path in folder.rglob("*"):
            if path.is_file() and not BY_RIGHT & {path.name, *path.relative_to(folder).parts}:
                yield path


def check_clean(business, scratch, output):
    texts = {"output": output, **{str(path): path.read_bytes() for path in left_behind(business, scratch)}}
    found = [(name, mark) for name, text in texts.items() for mark in MARKS if mark.encode() in text]
    assert found == []


FAULTS = {
    "refused by Stripe, which repeats the value": None,
    "the connection is cut": Fault.cut(count=None, **CREATION),
    "500": Fault.status_code(500, count=None, **CREATION),
    "502 with a page": Fault.not_json(status=502, count=None, **CREATION),
    "401": Fault.unauthorized(count=None, **CREATION),
    "403": Fault.forbidden(count=None, **CREATION),
    "the account can't be read": Fault.unauthorized(count=None),
}


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_run_that_fails_leaves_neither_the_key_nor_a_value(marked, tmp_path, fault, form):
    if fault is not None:
        marked.stripe.inject(fault)
    scratch = tmp_path / "scratch"

    with patience(marked):
        process = start(marked, scratch, "run", "--log-format", form)
        output, _ = process.communicate(timeout=120)

    assert process.returncode in {1, 2}, output.decode()
    assert fault is not None or b"email_invalid" in output
    check_clean(marked, scratch, output)


@contextmanager
def patience(business):
    """Lift a lasting fault once each row has met it twice, so that nobody waits for the last of eight tries."""
    done = threading.Event()

    def lift():
        while not done.wait(0.05):
            if len(business.stripe.writes()) >= 6:
                business.stripe.clear_faults()

    lifting = threading.Thread(target=lift)
    lifting.start()
    yield
    done.set()
    lifting.join()


def test_a_run_that_is_killed_leaves_nothing_outside_of_the_state(marked, tmp_path):
    marked.stripe.inject(Fault.latency(30.0, count=None, **CREATION))
    scratch = tmp_path / "scratch"
    process = start(marked, scratch)
    while not marked.stripe.writes():
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.02)

    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()

    check_clean(marked, scratch, output)
    assert not [path for path in scratch.rglob("*") if path.is_file()]
    folder = marked.state.parent
    assert folder.stat().st_mode & 0o077 == 0
    assert [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077] == [
        folder / ".gitignore"
    ]


def test_a_traceback_of_a_bug_contains_neither_the_key_nor_a_value(marked, tmp_path):
    scratch = tmp_path / "scratch"

    process = start(marked, scratch, program=("-c", BROKEN))
    output, _ = process.communicate(timeout=60)

    assert b"nobody has foreseen this" in output
    check_clean(marked, scratch, output)


def test_a_plan_shows_no_value_unless_asked_to(marked, tmp_path):
    scratch = tmp_path / "scratch"

    shown, _ = start(marked, scratch, "plan").communicate(timeout=60)
    asked, _ = start(marked, scratch, "plan", "--show-values").communicate(timeout=60)

    check_clean(marked, scratch, shown)
    assert NAME.encode() in asked
    assert KEY.encode() not in asked


def test_the_key_is_nowhere_in_the_state(marked, tmp_path):
    start(marked, tmp_path / "scratch").communicate(timeout=60)

    for path in marked.state.parent.rglob("*"):
        if path.is_file():
            assert KEY[8:].encode() not in path.read_bytes(), path
