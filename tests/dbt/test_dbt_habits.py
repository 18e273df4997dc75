"""What people do with dbt around a sync, with a real dbt of each engine: the rows of the table in docs/dbt.md."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from business import ROOT
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECT = Path(__file__).parent / "habits"
# dbt 2 knows metrics in the YAML of their model alone, and passes over those of dbt 1.x with a warning.
NEW_SEMANTIC_YAML = Path(__file__).parent / "habits_dbt2"
ROW = re.compile(r"^\| (?P<habit>.+?) \| .+ \| .+ \|$", re.MULTILINE)
BROKEN = "select cast('x' || id as int) as id, email, joined_on, built_in from {{ ref('stg_people') }}"
CHECKS: dict[str, Callable] = {}


@pytest.fixture(scope="module")
def built_by(tmp_path_factory):
    """The project, built once by each engine that is asked for."""
    built = {}

    def build(user):
        if user.engine not in built:
            root = Path(shutil.copytree(PROJECT, tmp_path_factory.mktemp("built") / "habits"))
            code, said = replace(user, root=root).run_dbt("build")
            assert code == 0, said
            built[user.engine] = root
        return built[user.engine]

    return build


@pytest.fixture
def habits(dbt_user, built_by, tmp_path):
    """The built project, to be changed at will."""
    return replace(dbt_user, root=Path(shutil.copytree(built_by(dbt_user), tmp_path / "habits")))


def build_production(habits):
    """Only another target is built, and dbt's artifacts of it are in `state/`."""
    habits.start_over()
    code, said = habits.run_dbt("build", "--target", "prod", "--target-path", "state", "--select", "stg_people")
    assert code == 0, said


def holds(habit):
    def keep(check):
        CHECKS[habit] = check
        return check

    return keep


@holds("`dbt-stripe-sync run --build`")
def check_build(habits):
    habits.start_over()

    ran = habits.cli("run", "--build")

    assert ran.exit_code == 0, ran.text
    assert habits.where_people_were_built() == ["dev"]
    assert habits.stripe.count("product") == 1


@holds("`run --build --defer --state DIR`")
def check_deferred_build(habits):
    build_production(habits)

    ran = habits.cli("run", "--build", "--defer", "--state", str(habits.root / "state"))

    assert ran.exit_code == 0, ran.text
    assert habits.where_people_were_built() == ["prod"]


@holds("`dbt build --defer`, then `run`")
def check_deferred_by_dbt(habits):
    """A synced model that dbt did not build here is not taken from elsewhere."""
    build_production(habits)
    code, said = habits.run_dbt("build", "--defer", "--state", "state", "--select", "plans")
    assert code == 0, said

    everything = habits.cli("run")
    built = habits.cli("run", "--select", "plans")

    assert everything.exit_code == 2, everything.text
    assert "error[relation-missing]" in everything.text
    assert built.exit_code == 0, built.text
    assert (habits.stripe.count("customer"), habits.stripe.count("product")) == (0, 1)


@holds("`--select state:modified --state DIR`")
def check_state(habits):
    state = shutil.copytree(habits.root / "target", habits.root / "state")
    (habits.root / "models/billing/plans.sql").write_text("select 'basic' as code, 'Plain' as name")

    ran = habits.cli("ls", "--select", "state:modified", "--state", str(state))

    assert ran.exit_code == 0, ran.text
    assert "plans" in ran.out
    assert "people" not in ran.out


@holds("`dbt retry` after a failed build")
def check_retry(habits):
    people = habits.root / "models/billing/people.sql"
    right = people.read_text()
    people.write_text(BROKEN)
    code, _ = habits.run_dbt("build")
    held = habits.cli("run")
    held_customers = habits.stripe.count("customer")
    people.write_text(right)
    again, said = habits.run_dbt("retry")

    ran = habits.cli("run")

    assert (code, again) == (1, 0), said
    assert held.exit_code == 1
    assert "nothing is sent for `people`: `people` failed in dbt's last run" in held.text
    assert held_customers == 0
    assert ran.exit_code == 0, ran.text
    assert habits.where_people_were_built() == ["dev"]


@holds("`dbt compile`, `docs generate` … after a failed build")
def check_later_commands(habits):
    """They write over the results. dbt 1.x has let us note them; of dbt 2's build nothing is left, and that is said."""
    (habits.root / "models/billing/people.sql").write_text(BROKEN)
    built, _ = habits.run_dbt("build", plugin="1")
    compiled, said = habits.run_dbt("compile", plugin="1")

    planned = habits.cli("plan")

    assert (built, compiled) == (1, 0), said
    if habits.engine == "1":
        assert "held back: `people` failed in `dbt build`" in planned.text
    else:
        assert "warning[no-dbt-results]: no dbt result is known for `people`" in planned.text


@holds("`dbt build --target-path DIR`")
def check_target_path(habits):
    shutil.rmtree(habits.root / "target")
    code, said = habits.run_dbt("build", "--target-path", "elsewhere")
    assert code == 0, said

    ran = habits.cli("run", "--target-path", "elsewhere")

    assert ran.exit_code == 0, ran.text
    assert habits.where_people_were_built() == ["dev"]
    assert (habits.root / "elsewhere" / "stripe_sync_results.json").exists()
    assert not (habits.root / "target").exists()


@holds("semantic models, metrics, saved queries")
def check_semantic_models(habits):
    """They are no rows; a selector that starts from one finds the models below it."""
    if habits.engine == "2":
        shutil.copytree(NEW_SEMANTIC_YAML, habits.root, dirs_exist_ok=True)
        code, said = habits.run_dbt("parse")
        assert code == 0, said

    listed = habits.cli("ls", "--select", "+metric:member_count")

    assert listed.exit_code == 0, listed.text
    assert "people" in listed.out
    assert "plans" not in listed.out


@holds("a `generate_schema_name` of your own")
def check_own_schemas(habits):
    ran = habits.cli("run")
    other = habits.cli("plan", "--target", "prod")

    assert ran.exit_code == 0, ran.text
    assert habits.where_people_were_built() == ["dev"]
    assert "error[other-target]" in other.text


@holds("`+schema` of a folder")
def check_folder_schemas(habits):
    habits.start_over()
    (habits.root / "macros/schemas.sql").unlink()
    code, said = habits.run_dbt("build")
    assert code == 0, said

    ran = habits.cli("run")
    other = habits.cli("plan", "--target", "prod")

    assert '"dev_billing"."people"' in (habits.root / "target/manifest.json").read_text().replace("\\", "")
    assert ran.exit_code == 0, ran.text
    assert habits.where_people_were_built() == ["dev"]
    assert "error[other-target]" in other.text


@pytest.mark.timeout(900)
@pytest.mark.parametrize("habit", CHECKS)
def test_a_habit_works_with_either_engine(habit, habits):
    CHECKS[habit](habits)


def test_every_row_of_the_page_has_a_test():
    page = (ROOT / "docs" / "dbt.md").read_text(encoding="utf-8")
    rows = [found["habit"] for found in ROW.finditer(page)][1:]

    assert [row for row in rows if not row.startswith("---")] == list(CHECKS)
