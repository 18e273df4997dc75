"""A store that answers late, not at all, or with an error, between a run and a real object server."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
from business import Business
from faulty_front import Front

from dbt_stripe_sync.sandbox import Fault as StripeFault
from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.state.place import RemotePlace
from dbt_stripe_sync.state.remote import lease
from dbt_stripe_sync.state.remote import objects as store
from dbt_stripe_sync.state.remote.log import Position, build_write, encode, name_of
from dbt_stripe_sync.state.remote.objects import TakenError, open_objects
from dbt_stripe_sync.state.session import Statement

ROWS = 60
SERVERS = [
    "moto",
    pytest.param("versitygw", marks=pytest.mark.object_stores),
    pytest.param("azurite", marks=pytest.mark.object_stores),
    pytest.param("google", marks=pytest.mark.object_stores),
]
on_every_server = pytest.mark.parametrize("server", SERVERS, indirect=True)
ENTRIES = 1_030
JOURNAL = "^PUT .*/journal/"


@pytest.fixture
def front(server, monkeypatch, tmp_path):
    """A front before the server, whose address the environment names from now on."""
    account = server.environment.get("GOOGLE_SERVICE_ACCOUNT")
    name = next((name for name in server.environment if name.endswith(("ENDPOINT_URL", "ENDPOINT"))), "")
    behind = json.loads(Path(account).read_text())["gcs_base_url"] if account else server.environment[name]
    with Front(re.sub(r"(:\d+)/.*", r"\1", behind)) as running:
        address = behind.replace(running.behind, running.url)
        if account:
            facts = json.loads(Path(account).read_text())
            moved = tmp_path / "account.json"
            moved.write_text(json.dumps({**facts, "gcs_base_url": address}))
            monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(moved))
        else:
            monkeypatch.setenv(name, address)
        yield running


@pytest.fixture
def many(shop):
    """More customers than one group of changes has, and so several entries of the log."""
    shop.set(concurrency=4)
    shop.rows("customers", *[(i, f"{i}@example.com") for i in range(ROWS)], columns="id int, email text")
    return shop


def check_each_once(shop, *, sent=ROWS):
    """Each row has one object; the last command sent so many calls for them."""
    assert shop.stripe.count("customer") == ROWS
    if sent is not None:
        assert len(shop.write_calls()) == sent


@pytest.mark.telling
@on_every_server
def test_a_lost_answer_loses_no_lease_and_repeats_no_call(many, front):
    """The store has carried out every second write, and its answer never arrived."""
    fault = front.fail("^PUT .*/(journal|lease.json|head.json|snapshots)", acts=True, every=2)

    ran = many.cli()

    assert ran.exit_code == 0, ran.text
    assert fault.done >= 4
    check_each_once(many)
    assert many.cli().exit_code == 0
    check_each_once(many, sent=0)


@pytest.mark.telling
@on_every_server
def test_requests_that_are_cut_before_they_take_effect_are_sent_again(many, front):
    fault = front.fail("^(PUT|GET) ", every=3)

    ran = many.cli()

    assert ran.exit_code == 0, ran.text
    assert fault.done >= 4
    check_each_once(many)


@on_every_server
@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
def test_a_busy_store_is_retried(many, front, status, code):
    fault = front.fail("^(PUT|GET|DELETE|POST) ", status, code=code, every=2, times=12)

    ran = many.cli()

    assert ran.exit_code == 0, ran.text
    assert fault.done >= 6
    check_each_once(many)


@on_every_server
@pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (409, "ConditionalRequestConflict")])
def test_an_unexplained_rejection_is_not_mistaken_for_a_lost_lease(many, front, status, code):
    """Amazon answers 409 while another write of the object, such as our own first try, is under way."""
    fault = front.fail("^PUT .*/(journal|lease.json)", status, code=code, every=3)

    ran = many.cli()

    assert ran.exit_code == 0, ran.text
    assert fault.done >= 2
    check_each_once(many)


@on_every_server
def test_a_slow_store_delays_a_run_and_keeps_its_lease(many, front, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_EVERY", lease.timedelta(seconds=0.5))
    front.fail("^(PUT|GET) ", None, seconds=0.4)

    ran = many.cli()

    assert ran.exit_code == 0, ran.text
    assert sum("lease.json" in line and line.startswith("PUT") for line in front.lines) > 3
    check_each_once(many)


@on_every_server
def test_an_unanswered_renewal_is_not_mistaken_for_another_runs(many, front, monkeypatch):
    """The store has the renewal, and the run has given up on its answer: the next one finds its own."""
    monkeypatch.setattr(lease, "RENEWED_EVERY", lease.timedelta(seconds=0.3))
    monkeypatch.setattr(store, "WRITE_SECONDS", 0)
    many.stripe.inject(StripeFault.latency(0.3, method="POST", count=None))
    fault = front.fail("^PUT .*/lease.json", acts=True, after=2, every=2)

    ran = many.cli()

    assert ran.exit_code == 0, ran.text
    assert fault.done >= 2
    check_each_once(many)
    # Given back, too: the next run does not wait for it to end.
    assert many.cli().exit_code == 0


@pytest.mark.telling
@on_every_server
def test_one_of_two_writers_with_lost_answers_wins_and_knows_it(front, url):
    place = RemotePlace(url=url, target="dev")
    ours, theirs = open_objects(place), open_objects(place)
    front.fail("^PUT .*/journal/1$", acts=True, times=1)
    cut = front.fail("^PUT .*/journal/2$", acts=False, seconds=1.0, times=1)
    front.fail("^PUT .*/journal/3$", acts=True, times=2)

    won = ours.create("journal/1", b"ours")
    with pytest.raises(TakenError):
        theirs.create("journal/1", b"theirs")
    assert ours.get("journal/1").tag == won

    def write_first():
        while not cut.done:
            time.sleep(0.01)
        theirs.create("journal/2", b"theirs")

    # Cut before the effect, and another one is faster than the second try.
    winner = threading.Thread(target=write_first)
    winner.start()
    with pytest.raises(TakenError):
        ours.create("journal/2", b"ours")
    winner.join()
    assert ours.get("journal/2").body == b"theirs"
    # Both answers are lost: to the write, and to the refusal of its second try.
    third = ours.create("journal/3", b"ours")
    assert ours.replace("journal/3", b"ours again", third) != third


EXPIRED = {
    "s3": (400, "ExpiredToken", "the credentials for the object store have expired"),
    "az": (403, "AuthenticationFailed", "the object store does not a"),
    "gs": (401, "AuthenticationRequired", "the object store does not accept the credentials"),
}


@on_every_server
def test_credentials_that_expire_during_a_run_stop_it_before_its_next_call(many, front, url, objects):
    status, code, words = EXPIRED[url[:2]]
    front.fail(".", status, code=code, after=12)

    ran = many.cli()
    front.faults.clear()
    sent = len(many.write_calls())

    assert ran.exit_code == 2, ran.text
    assert "error[state-store-credentials]" in ran.text
    assert words in ran.text
    assert "hint:" in ran.text
    assert sent < ROWS
    # With new ones, and once the lease has ended, the next run does the rest.
    objects.delete("lease.json")
    again = many.cli()
    assert again.exit_code == 0, again.text
    check_each_once(many, sent=None)


@pytest.mark.telling
@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_a_wrong_system_clock_is_reported(shop, front):
    front.fail(".", 403, code="RequestTimeTooSkewed")

    ran = shop.cli()

    assert ran.exit_code == 2
    assert "rejects requests because this machine's clock is wrong" in ran.text


@pytest.fixture
def impatient(monkeypatch):
    """Gives up sooner, so that the test does not wait for what it knows."""
    for name, value in {"RETRY_SECONDS": 1, "REQUEST_SECONDS": 2, "ATTEMPTS": 1, "WRITE_SECONDS": 1}.items():
        monkeypatch.setattr(store, name, value)


@on_every_server
@pytest.mark.usefixtures("impatient")
def test_a_store_that_never_confirms_an_entry_stops_the_run_and_loses_nothing(many, front):
    """What the log has that the run does not know of is read by the next one."""
    front.fail(JOURNAL, acts=True, after=3)

    ran = many.cli()
    front.faults.clear()

    assert ran.exit_code == 2, ran.text
    assert "error[state-store-unreachable]" in ran.text
    assert "state-lease-lost" not in ran.text
    again = many.cli()
    assert again.exit_code == 0, again.text
    check_each_once(many, sent=None)


# ── buckets as people have them ──────────────────────────────────────────────────────────────────────────────────

ODD = ["a b", "a b/ü", "100%/x", "a+b&c=d,e;f~g", "quo'te(1)", "stripe", "stripe-2", "STRIPE/日本"]


@pytest.mark.parametrize("server", ["folder", *SERVERS], indirect=True)
def test_a_prefix_may_have_unusual_characters_and_never_matches_another(server, tmp_path, monkeypatch, stripe):
    monkeypatch.setenv("STRIPE_API_KEY", Sandbox.api_key)
    bucket = server.new_bucket().removesuffix("/stripe/state")
    business = Business(root=tmp_path / "shop", stripe=stripe)
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    # In the URL of a folder, %20 is a space; the prefix of a bucket is taken literally.
    prefixes = ODD if server.process is None else [*ODD, "a%20b"]
    for number, prefix in enumerate(prefixes):
        business.set(state=f"{bucket}/{prefix}")
        business.rows("customers", (number, f"{number}@example.com"), columns="id int, email text")
        ran = business.cli()
        assert ran.exit_code == 0, (prefix, ran.text)
    stripe.reset_requests()

    for number, prefix in enumerate(prefixes):
        business.set(state=f"{bucket}/{prefix}")
        listed = business.cli("state", "list", "customers")
        assert [line.split()[0] for line in listed.out.splitlines()[1:] if line.strip()] == [str(number)], listed.text
    assert business.write_calls() == []


@on_every_server
def test_two_projects_in_one_bucket_stay_separate(url, tmp_path, monkeypatch, stripe):
    """Each has a folder of its own; one that takes the other's is stopped before it sends anything."""
    monkeypatch.setenv("STRIPE_API_KEY", Sandbox.api_key)
    first, second = (Business(root=tmp_path / name, stripe=stripe) for name in ("first", "second"))
    fields = {"customer": {"email": "email"}, "product": {"name": "email"}}
    for number, (business, resource) in enumerate(zip((first, second), fields, strict=True)):
        business.rows(resource, (1, f"{number}@example.com"), columns="id int, email text")
        business.sync(resource, resource=resource, key="id", fields=fields[resource])
        business.set(state=f"{url}-{number}")
        assert business.cli().exit_code == 0
    stripe.reset_requests()
    project = second.root / "dbt_project.yml"

    second.set(state=f"{url}-0")
    project.write_text(project.read_text().replace('"name": "shop"', '"name": "other"'))
    ran = second.cli()

    assert ran.exit_code == 2, ran.text
    assert "error[state-other-project]" in ran.text
    assert second.write_calls() == []
    assert first.cli().exit_code == 0
    assert first.write_calls() == []


@on_every_server
def test_a_log_longer_than_one_listing_is_read_and_removed_in_full(shop, objects):
    """Stores list 1,000 objects at a time, and Amazon removes 1,000 at a time."""
    shop.cli()
    head = json.loads(bytes(objects.get("head.json").bytes()))
    position = Position(number=head["number"], digest=head["digest"])
    for _ in range(ENTRIES):
        said = [Statement(sql="SELECT 1", values={}, tables={})]
        body, digest = encode(build_write(position, said, run=None, holder="a long run", lease="its lease"))
        position = Position(number=position.number + 1, digest=digest)
        objects.put(name_of(position.number), body)
    shutil.rmtree(shop.root / ".stripe_sync")
    assert len(names(objects, "journal")) > ENTRIES

    shop.rows("customers", (1, "x@example.com"), (2, "b@example.com"), columns="id int, email text")
    ran = shop.cli()

    assert ran.exit_code == 0, ran.text
    assert json.loads(bytes(objects.get("head.json").bytes()))["number"] > position.number
    assert len(names(objects, "journal")) == 1
    assert shop.stripe.count("customer") == 2


def names(objects, folder):
    return sorted(meta["path"] for batch in objects.list(folder) for meta in batch)


VERSIONED = ["moto", pytest.param("versitygw", marks=pytest.mark.object_stores)]


@pytest.mark.parametrize("server", VERSIONED, indirect=True)
def test_a_versioned_bucket_restores_a_damaged_object(shop, server, url):
    """As the hint of `state-digest` says."""
    s3 = server.client()
    bucket = url.split("/")[2]
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert shop.cli().exit_code == 0
    shop.rows("customers", (1, "x@example.com"), (3, "c@example.com"), columns="id int, email text")
    assert shop.cli().exit_code == 0
    shop.write_calls()
    shutil.rmtree(shop.root / ".stripe_sync")
    head = "stripe/state/dev/head.json"
    good = s3.list_object_versions(Bucket=bucket, Prefix=head)["Versions"]
    good = next(version["VersionId"] for version in good if version["IsLatest"])
    s3.put_object(Bucket=bucket, Key=head, Body=b"{}")
    ran = shop.cli()
    assert "error[state-digest]" in ran.text

    s3.copy_object(Bucket=bucket, Key=head, CopySource={"Bucket": bucket, "Key": head, "VersionId": good})

    assert shop.cli().exit_code == 0
    assert shop.write_calls() == []
    assert shop.stripe.count("customer") == 3
