"""Sandboxes in separate processes, and the results of each chain of kills."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import asdict

import pytest
from crash_counts import CRASH_COUNTS
from crash_harness import ColdNursery, Nursery, SandboxProcess, Shop, run_uninterrupted
from crash_shop import FEW, LEAST, SYNCS, TIED, TIMELESS


@pytest.fixture(scope="session")
def nursery():
    """Where the processes to be killed come from."""
    with closing(Nursery()) as nursery:
        yield nursery


@contextmanager
def never_killed(tmp_path_factory, nursery, syncs):
    """A shop as it is when nothing is ever killed."""
    with closing(SandboxProcess()) as stripe:
        shop = Shop.made_in(tmp_path_factory.mktemp("uninterrupted"), stripe, nursery)
        shop.syncs = tuple(syncs)
        run_uninterrupted(shop)
        yield shop


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, nursery):
    """The whole shop, never killed."""
    with never_killed(tmp_path_factory, nursery, SYNCS) as shop:
        yield shop


@pytest.fixture(scope="session")
def few_uninterrupted(tmp_path_factory, nursery):
    """The same with few kinds of objects."""
    with never_killed(tmp_path_factory, nursery, FEW) as shop:
        yield shop


@pytest.fixture(scope="session")
def least_uninterrupted(tmp_path_factory, nursery):
    """The same with the fewest kinds of objects."""
    with never_killed(tmp_path_factory, nursery, LEAST) as shop:
        yield shop


@pytest.fixture(scope="session")
def timeless_uninterrupted(tmp_path_factory, nursery):
    """The same with those kinds that time leaves alone."""
    with never_killed(tmp_path_factory, nursery, TIMELESS) as shop:
        yield shop


@pytest.fixture(scope="session")
def tied_uninterrupted(tmp_path_factory, nursery):
    """The same with objects that change in a certain order."""
    with never_killed(tmp_path_factory, nursery, TIED) as shop:
        yield shop


@pytest.fixture
def tied(shop):
    """A shop to be killed, with objects that change in a certain order."""
    shop.syncs = tuple(TIED)
    return shop


@pytest.fixture
def few(shop):
    """A shop to be killed, with few kinds of objects."""
    shop.syncs = FEW
    return shop


@pytest.fixture
def shop(request, tmp_path, nursery, record_property):
    """A shop to be killed; with the parameter `cold` each run starts as a process of its own."""
    with closing(SandboxProcess()) as stripe:
        shop = Shop.made_in(tmp_path, stripe, ColdNursery() if getattr(request, "param", "") == "cold" else nursery)
        yield shop
    record_property(CRASH_COUNTS, asdict(shop.counts))
