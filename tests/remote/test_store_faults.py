"""A store that refuses, is unreachable, damaged, or older: nothing is sent, and the message says what to do."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from faulty_front import Front

from dbt_stripe_sync.state.remote import objects as store_objects
from dbt_stripe_sync.state.remote import replica


def forget(shop):
    shutil.rmtree(shop.root / ".stripe_sync")


def names(objects, folder):
    return sorted(meta["path"] for batch in objects.list(folder) for meta in batch)


@pytest.fixture
def impatient(monkeypatch):
    """Gives up sooner, so that the test does not wait for what it knows."""
    monkeypatch.setattr(store_objects, "RETRY_SECONDS", 2)
    monkeypatch.setattr(store_objects, "REQUEST_SECONDS", 2)
    monkeypatch.setattr(store_objects, "ATTEMPTS", 1)
    monkeypatch.setattr(store_objects, "WRITE_SECONDS", 2)


@pytest.fixture
def without_snapshot(shop, monkeypatch):
    """A state whose last run is in the log alone."""
    shop.cli()
    with monkeypatch.context() as patched:
        patched.setattr(replica.Replica, "_is_worth_it", lambda _: False)
        shop.rows("customers", (1, "x@example.com"), (2, "b@example.com"), columns="id int, email text")
        assert shop.cli().exit_code == 0
    forget(shop)
    shop.stripe.reset_requests()
    return shop


def refused(shop, code):
    """A run that sends nothing and says why."""
    ran = shop.cli()
    assert ran.exit_code == 2, ran.text
    assert f"error[{code}]" in ran.text
    assert "hint:" in ran.text
    assert "Traceback" not in ran.text
    assert shop.write_calls() == []
    return ran


def test_a_damaged_snapshot_is_detected_by_its_digest(shop, objects):
    shop.cli()
    forget(shop)
    shop.stripe.reset_requests()
    name = json.loads(bytes(objects.get("head.json").bytes()))["snapshot"]["name"]
    body = bytearray(objects.get(name).bytes())
    body[len(body) // 2] ^= 1
    objects.put(name, bytes(body))

    assert name in refused(shop, "state-digest").text


def test_an_edited_head_is_detected_by_its_digest(shop, objects):
    shop.cli()
    forget(shop)
    shop.stripe.reset_requests()
    head = json.loads(bytes(objects.get("head.json").bytes()))
    objects.put("head.json", json.dumps(head | {"number": head["number"] - 1}).encode())

    refused(shop, "state-digest")


def test_a_replaced_log_entry_is_detected(without_snapshot, objects):
    entries = names(objects, "journal")
    objects.put(entries[-1], bytes(objects.get(entries[-2]).bytes()))

    refused(without_snapshot, "state-digest")


def test_a_missing_log_entry_is_detected(without_snapshot, objects):
    objects.delete(names(objects, "journal")[-2])

    refused(without_snapshot, "state-incomplete")


def test_a_store_restored_to_an_earlier_point_is_detected(shop, objects):
    shop.cli()
    before = {name: bytes(objects.get(name).bytes()) for name in names(objects, None)}
    shop.rows("customers", (1, "x@example.com"), (2, "b@example.com"), columns="id int, email text")
    shop.cli()
    shop.stripe.reset_requests()
    for name in names(objects, None):
        objects.delete(name)
    for name, body in before.items():
        objects.put(name, body)

    assert str(shop.root / ".stripe_sync" / "dev.remote.duckdb") in refused(shop, "state-store-older").text


def test_a_missing_bucket_is_named(shop, server, url):
    if server.process is None:
        pytest.skip("a folder is made")
    shop.set(state=url.replace("states-", "absent-"))

    assert "absent-" in refused(shop, "state-store-missing").text


@pytest.mark.usefixtures("impatient")
def test_an_unreachable_store_is_reported(shop, server, monkeypatch):
    if server.process is None:
        pytest.skip("a folder is always there")
    for name, value in server.environment.items():
        if value.startswith("http"):
            monkeypatch.setenv(name, "http://127.0.0.1:9" + value.partition("1:")[2].lstrip("0123456789"))
    if (account := server.environment.get("GOOGLE_SERVICE_ACCOUNT")) is not None:
        facts = json.loads(Path(account).read_text())
        away = Path(account).with_name("away.json")
        away.write_text(json.dumps({**facts, "gcs_base_url": "http://127.0.0.1:9"}))
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(away))

    refused(shop, "state-store-unreachable")


@pytest.mark.usefixtures("impatient")
def test_wrong_credentials_are_reported_with_the_names_of_their_variables(shop, server, monkeypatch):
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong", "AZURE_STORAGE_ACCOUNT_KEY": "d3Jvbmc="}
    named = [name for name in server.environment if name in wrong]
    if not named or type(server).__name__ == "Moto":
        pytest.skip("it asks for none")
    monkeypatch.setenv(named[0], wrong[named[0]])

    ran = refused(shop, "state-store-credentials")
    assert named[0] in ran.text
    assert "wrong" not in ran.text.replace("wrong credentials", "")


@pytest.mark.usefixtures("impatient")
def test_missing_credentials_are_reported(shop, server, monkeypatch):
    if server.process is None:
        pytest.skip("a folder asks for none")
    if "GOOGLE_SERVICE_ACCOUNT" in server.environment:
        pytest.skip("fake-gcs-server asks for none, and its address stands among them")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.delenv(name, raising=False)
    # The address that a machine's role is asked for at, where nobody listens.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", "http://127.0.0.1:9")

    refused(shop, "state-store-credentials")


def test_a_missing_library_is_reported_with_how_to_install_it(shop, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "obstore", None)

    assert "pip install 'dbt-stripe-sync[object-store]'" in refused(shop, "object-store-missing").text


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_a_store_that_ignores_conditions_is_refused_before_anything_is_written(shop, server, objects, monkeypatch):
    behind = server.environment["AWS_ENDPOINT_URL"]
    with Front(behind, drop=frozenset({"if-none-match", "if-match"})) as careless:
        monkeypatch.setenv("AWS_ENDPOINT_URL", careless.url)
        refused(shop, "state-store-conditions")
    assert names(objects, "snapshots") == []
    assert names(objects, "journal") == []


def test_a_missing_final_snapshot_loses_nothing(shop, monkeypatch, stripe):
    """The run has done its work and says so, and the next one reads the log."""
    from dbt_stripe_sync.state.remote import problems

    def fail(objects, *_, **__):
        raise problems.unreachable(objects.place, "no answer in time")

    assert shop.cli().exit_code == 0
    shop.rows("customers", (1, "x@example.com"), (3, "c@example.com"), columns="id int, email text")
    with monkeypatch.context() as patched:
        patched.setattr(replica, "upload_snapshot", fail)
        ran = shop.cli()
    assert ran.exit_code == 0, ran.text
    assert "warning[snapshot-not-written]" in ran.text
    forget(shop)
    stripe.reset_requests()

    assert shop.cli().exit_code == 0
    assert shop.write_calls() == []
    assert stripe.count("customer") == 3
