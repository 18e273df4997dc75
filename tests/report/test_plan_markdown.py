"""A plan for a pull request's comment."""

from __future__ import annotations

from made import ListedChanges, make_change, make_counts, make_plan, row_problem

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.report.plan_markdown import MOST_CHARACTERS, render_plan
from dbt_stripe_sync.report.plan_text import PlanStyle


def render(plan, **style) -> str:
    return "\n".join(render_plan(plan, style=PlanStyle(**style)))


def test_a_comment_has_a_table_of_totals_and_folded_changes():
    changes = [make_change("42", changed={"email": ("a", "b")}), make_change("9", Action.DELETE)]
    counts = make_counts(rows=12401, rejected=1, same=12398, by_action={"update": 1, "delete": 1}, calls=2)

    assert render(make_plan(changes, [counts], [row_problem("jo@x.com")])) == (
        "### Stripe: 2 changes, 1 rejected, 12,398 unchanged\n"
        "\n"
        "About 2 writes, under a second. Target dev, account acct\\_1AbCdEfGhIjKlMn0, test mode.\n"
        "\n"
        "| sync | resource | rows | changes | rejected |\n"
        "| --- | --- | ---: | --- | ---: |\n"
        "| customers | customer | 12,401 | 1 update, 1 delete | 1 |\n"
        "\n"
        "- **Error** too-long: metadata.note has 612 characters, Stripe accepts 500 (1 row: `jo@x.com`)  \n"
        "  at models/schema.yml  \n"
        "  hint: shorten it in the model\n"
        "\n"
        "<details><summary>customers: 2 changes</summary>\n"
        "\n"
        "```diff\n"
        "! 42  cus_Nf3KAbCdEfGh42  email\n"
        "- 9  cus_Nf3KAbCdEfGh9  delete\n"
        "```\n"
        "\n"
        "</details>\n"
    )


def test_a_value_cannot_close_its_code_block_or_become_html():
    changes = [make_change("```<b>", changed={"name": ("x", "```\n<script>")})]
    text = render(make_plan(changes, [make_counts("c<i>|`x", rows=1, by_action={"update": 1})]), show_values=True)

    before, fence, _ = text.partition("```diff")
    assert fence
    assert "<b>" not in before
    assert "c\\<i\\>\\|" in text


def test_a_summary_never_mentions_a_github_user():
    problem = row_problem(None, summary="ask @octocat", hint="mail @org/team")
    text = render(make_plan([], [make_counts()], [problem]))

    assert "@octocat" not in text
    assert "@org" not in text


def test_a_comment_is_never_longer_than_its_host_accepts():
    changes = ListedChanges(
        make_change(f"{n:05}", changed={"name": ("x" * 90, f"{n}{'ü' * 900}")}) for n in range(3000)
    )
    counts = make_counts(rows=3000, by_action={"update": 3000})
    text = render(make_plan(changes, [counts]), show_values=True, all_rows=True)

    assert len(text.encode()) < MOST_CHARACTERS + 200
    assert text.count("```") == 2
    assert "longer than a comment may be" in text
