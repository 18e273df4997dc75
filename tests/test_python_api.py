"""`from dbt_stripe_sync import Project` does everything that the command line does, without a subprocess."""

from __future__ import annotations

import asyncio

import pytest

import dbt_stripe_sync
from dbt_stripe_sync import Plan, PlanOptions, Project, ProjectOptions, RunReport, RunStatus, Status, SyncError


@pytest.fixture
def project(customers):
    return Project(
        ProjectOptions(project_dir=customers.root, profiles_dir=customers.root, stripe_url=customers.stripe.url)
    )


def test_a_plan_is_typed_and_apply_sends_exactly_what_it_shows(project, customers):
    with project.plan() as plan:
        assert isinstance(plan, Plan)
        planned = {change.key: change.action.value for change in plan.changes}
        report = project.apply(plan)

    assert planned == {"1": "create", "2": "create", "3": "create"}
    assert isinstance(report, RunReport)
    assert report.status is RunStatus.SUCCEEDED
    assert {outcome.change.key: outcome.status for outcome in report.outcomes} == dict.fromkeys("123", Status.SUCCEEDED)
    assert customers.stripe.count("customer") == 3


def test_run_gives_a_report_and_a_second_run_has_nothing_to_do(project):
    first = project.run()
    second = project.run(PlanOptions(full_refresh=True))

    assert (first.done["succeeded"], second.done["succeeded"]) == (3, 0)
    assert project.artifacts[0].exists()
    assert project.artifacts[1].exists()
    assert project.state.report().run_id == second.run_id


def test_a_saved_plan_can_be_applied_by_another_project_object(project, tmp_path, customers):
    file = tmp_path / "plan.jsonl"
    with project.plan(out=file):
        pass

    Project(project.options).apply(file)

    assert customers.stripe.count("customer") == 3


def test_problems_are_raised_together_and_have_fields_to_read(customers):
    customers.sync("customers", resource="custommer", key="id", fields={"email": "email"})
    project = Project(ProjectOptions(project_dir=customers.root, profiles_dir=customers.root))

    with pytest.raises(SyncError) as raised:
        project.run()

    (problem,) = raised.value.problems
    assert problem.code == "unknown-resource"
    assert problem.hint is not None


def test_retry_is_none_if_nothing_is_left_to_do(project):
    project.run()

    assert project.retry() is None


def test_progress_receives_every_change(project):
    heard = []

    class Listener:
        def begin_run(self, run_id):
            heard.append(run_id[8])

        def reading_back(self, costs, calls_per_second):
            heard.append(("looked up", len(costs), calls_per_second > 0))

        def begin_sync(self, name):
            heard.append(name)

        def rows_read(self, count):
            heard.append(("read", count))

        def rows_compared(self, count):
            heard.append(("compared", count))

        def planned(self, counts):
            heard.append(counts.rows)

        def begin_apply(self, total):
            heard.append(total)

        def on_outcome(self, outcome):
            heard.append(outcome.status)

    project.run(progress=Listener())

    assert heard == [
        "T",
        "customers",
        ("read", 3),
        ("looked up", 1, True),
        ("compared", 3),
        3,
        3,
        *[Status.SUCCEEDED] * 3,
    ]


def test_every_exported_name_exists():
    for name in dbt_stripe_sync.__all__:
        assert getattr(dbt_stripe_sync, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Projct'"):
        dbt_stripe_sync.Projct  # noqa: B018 - asking is the test


def test_a_run_works_inside_a_running_event_loop(business):
    business.rows("people", (1, "a@example.com"), columns="id int, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    options = ProjectOptions(project_dir=business.root, profiles_dir=business.root, stripe_url=business.stripe.url)

    async def notebook():
        return Project(options).run()

    assert asyncio.run(notebook()).status is RunStatus.SUCCEEDED
    assert business.stripe.count("customer") == 1


def test_a_plan_whose_context_has_ended_says_so(project):
    with project.plan() as plan:
        assert len(list(plan.changes)) == 3

    for use in (lambda: list(plan.changes), lambda: project.apply(plan)):
        with pytest.raises(SyncError) as error:
            use()
        assert error.value.problems[0].code == "no-plan"


@pytest.mark.parametrize(
    "ask",
    [
        lambda project: project.state.runs(-1),
        lambda project: project.state.records("customers", limit=-1),
        lambda project: project.show("customers", limit=-1),
    ],
    ids=["runs", "records", "show"],
)
def test_a_negative_limit_is_the_callers_mistake_and_not_the_states(project, ask):
    project.run()

    with pytest.raises(ValueError, match="`limit` is -1, and can't be negative"):
        ask(project)


def test_the_state_lists_its_syncs_and_their_records(project):
    project.run()

    records, count = project.state.records("customers", limit=2)

    assert project.state.summary() == [("customers", "customer", 3)]
    assert ([record.key for record in records], count) == (["1", "2"], 3)
    assert project.state.runs(0) == []
