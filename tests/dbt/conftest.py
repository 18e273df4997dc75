"""Projects of dbt, ready to use."""

from __future__ import annotations

import pytest
from dbt_projects import Built, ManifestFile, build_shop
from dbt_user import DbtUser


@pytest.fixture
def manifest(tmp_path) -> ManifestFile:
    return ManifestFile(target=tmp_path / "target")


@pytest.fixture(scope="session")
def shop_by_dbt_1(tmp_path_factory, dbt_1) -> Built:
    return build_shop(dbt_1, tmp_path_factory.mktemp("dbt1") / "shop")


@pytest.fixture(scope="session")
def shop_by_dbt_2(tmp_path_factory, dbt_2) -> Built:
    return build_shop(dbt_2, tmp_path_factory.mktemp("dbt2") / "shop")


@pytest.fixture(params=[pytest.param("1", marks=pytest.mark.slow), pytest.param("2", marks=pytest.mark.dbt2)])
def dbt_user(request, tmp_path, stripe, monkeypatch) -> DbtUser:
    """Somebody who works with dbt 1.x, and somebody who works with dbt 2; neither has a project yet."""
    dbt = request.getfixturevalue(f"dbt_{request.param}")
    monkeypatch.setenv("DBT_STRIPE_SYNC_DBT", str(dbt))
    return DbtUser(root=tmp_path, dbt=dbt, engine=request.param, stripe=stripe)


@pytest.fixture(autouse=True)
def _without_our_plugin(monkeypatch):
    """These projects hold meta of any shape, and here it is dbt alone that reads them."""
    monkeypatch.setenv("DBT_STRIPE_SYNC_PLUGIN", "0")
