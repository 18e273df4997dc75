"""The summary of a run that an orchestrator stores."""

from __future__ import annotations

import json

from dbt_stripe_sync import Project, ProjectOptions
from dbt_stripe_sync.integrations.summary import summarize


def test_a_summary_holds_only_what_json_has(customers, reject_one):
    reject_one()
    project = Project(
        ProjectOptions(project_dir=customers.root, profiles_dir=customers.root, stripe_url=customers.stripe.url)
    )

    summary = summarize(project.run(), project.artifacts).as_json()

    (sync,) = summary["syncs"]
    assert sync["rejected"] == 1
    assert json.loads(json.dumps(summary)) == summary
