"""Every code block of the pages about deployment is run by a test named here, or has a reason why it can't be."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from business import ROOT
from doc_blocks import all_blocks, blocks

from dbt_stripe_sync.serve import metrics

RUN_HERE = "tests/test_where_it_runs.py"
DAGSTER, AIRFLOW, PREFECT = (f"tests/integrations/test_{name}.py" for name in ("dagster", "airflow", "prefect"))
LOG = "tests/warehouse_log/test_log_page.py"
REMOTE = "tests/remote/test_page.py"
THIS = "tests/test_blocks_of_pages.py"

# Of each page its blocks in their order: the test that runs them, or why nothing does.
RUN_BY = {
    "dbt-cloud.md": (
        f"{RUN_HERE}::test_the_page_lists_the_variables_that_are_read",
        f"{RUN_HERE}::test_the_page_on_dbt_cloud_works",
        f"{RUN_HERE}::test_the_page_on_dbt_cloud_works",
    ),
    "serve.md": (
        f"{THIS}::test_the_page_lists_exactly_the_variables_that_serve_needs",
        f"{RUN_HERE}::test_the_page_on_serve_works_from_start_to_curl",
        "not run: a file of Caddy's, which can be had neither from PyPI nor from npm",
        f"{RUN_HERE}::test_the_page_on_serve_works_from_start_to_curl",
        f"{THIS}::test_the_page_lists_exactly_the_metrics_that_are_served",
        f"{RUN_HERE}::test_systemd_accepts_the_units_of_the_pages",
    ),
    "remote-state.md": (
        f"{REMOTE}::test_the_setting_and_the_workflow_of_the_page_are_valid",
        f"{THIS}::test_pages_install_only_existing_extras",
        f"{REMOTE}::test_the_commands_of_the_page_move_a_state_there_and_back",
        f"{REMOTE}::test_the_commands_of_the_page_move_a_state_there_and_back",
        f"{REMOTE}::test_the_setting_and_the_workflow_of_the_page_are_valid",
    ),
    "schedules.md": (
        "tests/test_readme.py::test_every_example_of_settings_is_accepted",
        "tests/test_readme.py::test_every_yaml_example_parses",
    ),
    "orchestrators.md": (
        f"{THIS}::test_pages_install_only_existing_extras",
        f"{DAGSTER}::test_the_page_on_orchestrators_works_with_a_real_dbt_project",
        f"{THIS}::test_pages_install_only_existing_extras",
        f"{AIRFLOW}::test_the_page_on_orchestrators_works",
        f"{THIS}::test_pages_install_only_existing_extras",
        f"{PREFECT}::test_the_page_on_orchestrators_works",
        f"{RUN_HERE}::test_the_workflow_of_the_page_names_existing_inputs",
        f"{RUN_HERE}::test_systemd_accepts_the_units_of_the_pages",
        f"{RUN_HERE}::test_systemd_accepts_the_units_of_the_pages",
        f"{RUN_HERE}::test_the_commands_of_the_units_and_of_cron_exist",
        f"{THIS}::test_the_commands_for_the_image_use_what_it_contains",
    ),
    "alerts.md": (
        f"{THIS}::test_the_variable_of_the_page_on_alerts_is_the_one_of_its_settings",
        f"{RUN_HERE}::test_the_settings_of_the_page_on_alerts_are_accepted",
        f"{RUN_HERE}::test_the_settings_of_the_page_on_alerts_are_accepted",
        f"{RUN_HERE}::test_the_page_on_alerts_shows_the_json_that_is_sent",
    ),
    "warehouse-log.md": (
        f"{LOG}::test_the_page_works_from_setting_to_model",
        f"{LOG}::test_the_page_works_from_setting_to_model",
        f"{LOG}::test_the_page_works_from_setting_to_model",
        f"{LOG}::test_rows_join_on_several_columns_as_the_page_says",
        f"{LOG}::test_the_log_goes_to_the_schema_that_the_page_names",
        f"{LOG}::test_after_a_lost_state_the_log_continues_as_the_page_says",
        f"{LOG}::test_the_grants_on_the_page_are_enough",
        f"{LOG}::test_the_grants_on_the_page_are_enough",
        f"{LOG}::test_the_page_works_from_setting_to_model",
    ),
}


@pytest.mark.parametrize("page", RUN_BY)
def test_every_code_block_has_a_test_or_a_reason(page):
    assert len(all_blocks(page)) == len(RUN_BY[page]), "name the test that runs the new block"
    for named in RUN_BY[page]:
        if named.startswith("not run: "):
            continue
        file, _, test = named.partition("::")
        tests = {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}
        assert test in tests, named


def test_pages_install_only_existing_extras():
    extras = set(re.findall(r"^(\w[\w-]*) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE))
    named = [
        extra
        for page in RUN_BY
        for block in all_blocks(page)
        for extra in re.findall(r"dbt-stripe-sync\[([\w-]+)\]", block.text)
    ]

    assert set(named) >= {"object-store", "dagster", "airflow", "prefect"}
    assert set(named) <= extras


def test_the_page_lists_exactly_the_metrics_that_are_served():
    (block,) = (block for block in blocks("serve.md") if "increase(" in block)
    served = inspect.getsource(metrics)

    named = re.findall(r"stripe_sync_\w+", block)
    assert named
    assert [name for name in named if f'"{name}"' not in served] == []
    statuses = re.findall(r'status=~"([\w|]+)"', block)[0].split("|")
    assert set(statuses) <= set(metrics.LABELS["runs"])


def test_the_page_lists_exactly_the_variables_that_serve_needs():
    from dbt_stripe_sync.config.settings import Settings
    from dbt_stripe_sync.serve.options import SECRET

    exported = set(re.findall(r"export (\w+)=", blocks("serve.md")[0]))

    assert exported == {Settings().api_key_env, SECRET}


def test_the_variable_of_the_page_on_alerts_is_the_one_of_its_settings():
    (exported,) = re.findall(r"export (\w+)=", blocks("alerts.md")[0])

    assert all(f"url_env: {exported}" in setting for setting in blocks("alerts.md", "yaml"))


def test_the_commands_for_the_image_use_what_it_contains():
    (block,) = (block for block in blocks("orchestrators.md") if "docker build" in block)
    image = (ROOT / "Dockerfile").read_text()

    assert set(re.findall(r"--build-arg (\w+)=", block)) <= set(re.findall(r"^ARG (\w+)", image, flags=re.MULTILINE))
    for folder in re.findall(r"-v \S+:(/\w+)", block):
        assert folder in image
    assert "ENTRYPOINT" in image


def test_the_site_keeps_lists_with_code_blocks_whole():
    """Python-Markdown continues a list's item after four spaces, and begins the next one after a blank line."""
    broken = re.compile(r"^ {1,3}```.*$|(?<=\n\n)(?: {4}.*\n)+\d+\. .*$", flags=re.MULTILINE)
    pages = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").rglob("*.md"))}

    assert [f"{name}: {found[0]}" for name, text in pages.items() for found in broken.finditer(text)] == []
