"""A state on an object store, and runners that are killed and lose their disk: each row ends up with one object."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from crash_harness import ACTED, POINTS, SENDING, STORING, kill_all_along, kill_saved_plans
from crash_shop import LEAST

sys.path.append(str(Path(__file__).parent.parent / "remote"))
from object_stores import SERVERS, STORES

KILLS_IN_THE_DEFAULT_RUN = 6
KILLS_AT_EVERY_KIND = 20
KILLS_OF_ONE_CHAIN = 24
BUILT = ["versitygw", "azurite", "google"]


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    """Servers by name, each started when it is first asked for."""
    started = {}

    def store(name):
        if name in BUILT and not STORES:
            pytest.skip("DBT_STRIPE_SYNC_TEST_STORES names no folder of servers")
        if name not in started:
            started[name] = SERVERS[name](tmp_path_factory.mktemp("stores") / name).__enter__()
        return started[name]

    yield store
    for running in started.values():
        running.__exit__()


@pytest.fixture
def remote(stores, shop):
    """A shop with the fewest kinds of objects, and its state on a store of some kind."""

    def on(name):
        store = stores(name)
        shop.syncs = LEAST
        shop.business.set(state=store.new_bucket())
        shop.environment = {**store.environment, "CRASH_FOLDS_OFTEN": "yes"}
        shop.forgets = True
        return shop

    return on


@pytest.mark.parametrize(
    ("kills", "points"),
    [
        (KILLS_IN_THE_DEFAULT_RUN, (ACTED, *STORING)),
        pytest.param(KILLS_AT_EVERY_KIND, (*POINTS, *STORING), marks=pytest.mark.slow),
    ],
    ids=["some kinds", "every kind"],
)
def test_kills_at_every_kind_of_instant_leave_no_trace_in_a_remote_state(least_uninterrupted, remote, kills, points):
    shop = remote("folder")

    kill_all_along(shop, kills, seed=31, points=points)

    shop.check_like(least_uninterrupted)
    assert shop.counts.kills >= kills


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_chains_of_kills_leave_no_trace_if_the_state_is_on_a_server(least_uninterrupted, remote, seed):
    shop = remote("moto")

    kill_all_along(shop, KILLS_OF_ONE_CHAIN, seed=400 + seed, points=(*SENDING, *STORING))

    shop.check_like(least_uninterrupted)


@pytest.mark.object_stores
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", BUILT)
def test_chains_of_kills_leave_no_trace_on_production_object_stores(least_uninterrupted, remote, name, seed):
    shop = remote(name)

    kill_all_along(shop, KILLS_OF_ONE_CHAIN, seed=500 + seed, points=(*SENDING, *STORING))

    shop.check_like(least_uninterrupted)


@pytest.mark.object_stores
@pytest.mark.parametrize("name", BUILT)
def test_each_kind_of_instant_in_every_generation_leaves_no_trace(least_uninterrupted, remote, name):
    shop = remote(name)

    for number in range(3):
        shop.write(number)
        for point in (*STORING, *SENDING):
            if shop.run(point, 1):
                break
        for nth in (3, 7, 12):
            shop.run(STORING[0], nth)
        shop.until_done()

    shop.check_like(least_uninterrupted)


@pytest.mark.slow
def test_a_saved_plan_continues_on_another_machine(least_uninterrupted, remote):
    shop = remote("moto")

    kill_saved_plans(shop, (*SENDING[:4], *STORING[:2]))

    shop.check_like(least_uninterrupted)
