"""`diff: warehouse` on Apache Spark: whole runs on a cluster of a master and two workers, tables built by dbt-spark."""

from __future__ import annotations

import shutil

import pytest
from spark_cluster import SPARK_SECONDS, running_spark
from spark_shop import SparkShop

ROWS, FEW = 3_000, 100
FIELDS = {"name": "name", "metadata.tags": "tags"}
BUILT = f"select id, concat('p', id) as name, array(id, null) as tags from range(1, {ROWS + 1})"
# Three in a thousand rows: two in one column, one in the other.
CHANGED = (
    "select id, if(id in (3, 1500), concat(name, '!'), name) as name, if(id = 4, array(9), tags) as tags "
    f"from ({BUILT})"
)
AFTER_REMOVALS = f"select * from ({CHANGED}) where id > 10 union all select {ROWS + 99}, 'p{ROWS + 99}', array()"
BEFORE, AFTER = "before a statement of the log", "after a statement of the log"
# Statements of a run that writes its copy: of one that adds to the copy at first, of those that write it anew later.
MOST_STATEMENTS = 60
EVERY = 3
pytestmark = [pytest.mark.adapters, pytest.mark.timeout(4 * SPARK_SECONDS)]


@pytest.fixture
def shop(tmp_path, stripe, environment_of):
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    folder = tmp_path / "cluster"
    folder.mkdir()
    with running_spark(environment_of("spark"), folder, workers=2) as target:
        yield SparkShop(root=tmp_path / "shop", programs=environment_of("spark"), stripe=stripe, target=target)


def calls(shop):
    """What was written to Stripe since the last look."""
    made = [f"{write.method} {write.path.split('/')[2]}" for write in shop.stripe.writes()]
    shop.stripe.reset_requests()
    return made


def names(shop):
    found = sorted(customer["name"] for customer in shop.stripe.objects("customer"))
    assert len(found) == len(set(found)), "an object twice"
    return found


def test_only_changed_rows_are_transferred_and_sent(shop):
    shop.build(BUILT, **FIELDS)
    first = shop.run("run")
    assert f"{ROWS:,} created" in first.text
    assert first.rows == ROWS
    assert len(calls(shop)) == ROWS

    same = shop.run("run")
    assert f"{ROWS:,} rows: 0 written, {ROWS:,} unchanged" in same.text
    assert same.rows == 1, "the counts alone"
    assert calls(shop) == []

    shop.build(CHANGED, **FIELDS)
    changed = shop.run("run")
    assert "3 updated" in changed.text
    assert changed.rows == 1 + 1 + 3, "a digest, since the last run changed nothing; then the counts and the rows"
    assert same.bytes < changed.bytes < first.bytes / 100
    assert calls(shop) == ["POST customers"] * 3

    shop.build(AFTER_REMOVALS, **FIELDS)
    removed = shop.run("run")
    assert "1 created" in removed.text
    assert "10 deleted" in removed.text
    assert removed.rows == 1 + 1 + 10
    assert sorted(calls(shop)) == ["DELETE customers"] * 10 + ["POST customers"]
    assert len(names(shop)) == ROWS - 10 + 1

    # Another mapping that sends the same parameters, and one that doesn't.
    shop.build(AFTER_REMOVALS, **FIELDS | {"name": {"template": "[[ name ]]"}})
    assert shop.run("run").rows == ROWS - 10 + 1 + 1
    assert calls(shop) == []
    last = shop.run("run")
    assert last.rows == 1
    assert "every row is read" not in last.text


def test_a_kill_at_any_statement_that_writes_the_copy_costs_a_repair_and_nothing_else(shop):
    """The first of the killed runs sends and adds to the copy; those after it find it behind and write it anew."""
    few = f"select * from ({BUILT}) where id <= {FEW}"
    shop.build(few, **FIELDS)
    shop.run("run")
    shop.build(f"select id, if(id = 3, 'new', name) as name, tags from ({few}) where id > 1", **FIELDS)
    calls(shop)
    kills, sent = 0, []

    for nth in range(1, MOST_STATEMENTS, EVERY):
        killed = shop.kill((BEFORE, AFTER)[nth % 2], nth)
        kills += killed
        sent += calls(shop)
        if not killed:
            break

    assert kills >= 3
    shop.run("run")
    sent += calls(shop)
    assert sorted(sent) == ["DELETE customers", "POST customers"], "each once"
    assert names(shop) == sorted([*(f"p{number}" for number in range(2, FEW + 1) if number != 3), "new"])
    last = shop.run("run")
    assert last.rows == 1
    assert calls(shop) == []
