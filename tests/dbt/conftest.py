"""Projects of dbt, ready to use."""

from __future__ import annotations

import pytest
from dbt_projects import Built, ManifestFile, build_shop


@pytest.fixture
def manifest(tmp_path) -> ManifestFile:
    return ManifestFile(target=tmp_path / "target")


@pytest.fixture(scope="session")
def shop_by_dbt_1(tmp_path_factory, dbt_1) -> Built:
    return build_shop(dbt_1, tmp_path_factory.mktemp("dbt1") / "shop")


@pytest.fixture(scope="session")
def shop_by_dbt_2(tmp_path_factory, dbt_2) -> Built:
    return build_shop(dbt_2, tmp_path_factory.mktemp("dbt2") / "shop")


@pytest.fixture(autouse=True)
def _without_our_plugin(monkeypatch):
    """These projects hold meta of any shape, and here it is dbt alone that reads them."""
    monkeypatch.setenv("DBT_STRIPE_SYNC_PLUGIN", "0")
