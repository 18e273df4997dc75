"""Projects of the shapes that people publish, built by a real dbt of each engine, and synced.

A bakery's till (seeds, views, marts, semantic models, a source that is not there), a guild with packages, groups,
contracts and versions, a museum with snapshots of both forms, Python models and schemas of its own.
"""

from __future__ import annotations

import shutil

import pytest
from msgspec.structs import replace
from selector_table import PROJECTS

# What each project's syncs make, whatever else of it can't be built.
MADE = {"bakery": {"customer": 1}, "guild": {"customer": 1, "product": 1}, "museum": {"customer": 2}}


@pytest.fixture
def project_of(dbt_user, tmp_path):
    def build(name):
        user = replace(dbt_user, root=shutil.copytree(PROJECTS / name, tmp_path / name))
        if (user.root / "packages.yml").exists():
            code, said = user.run_dbt("deps")
            assert code == 0, said
        # The bakery has a source that is not there, and dbt 2 builds no Python models on DuckDB.
        code, said = user.run_dbt("build")
        assert code in {0, 1}, said
        return user

    return build


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MADE)
def test_a_second_run_of_each_project_sends_nothing(project_of, name):
    user = project_of(name)

    first = user.cli("run")
    made = {kind: user.stripe.count(kind) for kind in MADE[name]}
    user.stripe.reset_requests()
    second = user.cli("run")

    assert (first.exit_code, second.exit_code) == (0, 0), first.text + second.text
    assert made == MADE[name]
    assert list(user.stripe.writes()) == []


@pytest.mark.timeout(900)
def test_a_snapshot_with_history_still_has_one_current_row_per_visitor(project_of):
    user = project_of("museum")
    user.cli("run")
    (user.root / "seeds/visitors.csv").write_text(
        "id,email,plan,updated_at\n1,ann@example.com,patron,2026-02-01\n3,cem@example.com,basic,2026-02-01\n"
    )
    user.run_dbt("build", "--select", "+visitor_history")

    ran = user.cli("run")

    assert ran.exit_code == 0, ran.text
    emails = sorted(customer["email"] for customer in user.stripe.objects("customer"))
    assert emails == ["ann@example.com", "bob@example.com", "cem@example.com"]
