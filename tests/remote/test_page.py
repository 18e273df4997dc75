"""Follows docs/remote-state.md as a newcomer does."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml
from business import ROOT

from dbt_stripe_sync.config.settings import parse_settings

PAGE = (ROOT / "docs" / "remote-state.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_the_commands_of_the_page_move_a_state_there_and_back(shop, url, monkeypatch):
    monkeypatch.chdir(shop.root)
    shop.settings.pop("state")
    shop.write_project()
    assert shop.cli().exit_code == 0
    shop.set(state=url)
    there, back = ([line.removeprefix("$ ") for line in block.splitlines()] for block in blocks("console")[1:])
    assert len(there) == len(back) == 2

    for command in there:
        assert (ran := shop.cli(*command.split()[1:])).exit_code == 0, ran.text
    shutil.rmtree(shop.root / ".stripe_sync")
    assert "2 rows" in shop.cli("plan").text
    for command in back:
        assert (ran := shop.cli(*command.split()[1:])).exit_code == 0, ran.text
    assert (shop.root / ".stripe_sync" / "back.duckdb").exists()
    assert shop.cli("run", "--state-path", ".stripe_sync/back.duckdb").exit_code == 0
    assert shop.stripe.count("customer") == 2


def test_the_setting_and_the_workflow_of_the_page_are_valid():
    setting, workflow = (yaml.safe_load(block) for block in blocks("yaml"))

    settings, problems = parse_settings(setting["vars"]["stripe_sync"])
    assert (settings.state, problems) == ("s3://our-bucket/stripe", ())
    steps = workflow["jobs"]["sync"]["steps"]
    assert [step["run"].split()[0] for step in steps if "run" in step] == ["pip", "dbt", "dbt-stripe-sync"]


@pytest.mark.parametrize(
    "scheme", ["s3://bucket/prefix", "gs://bucket/prefix", "az://container/prefix", "file:///folder"]
)
def test_every_kind_of_url_on_the_page_is_accepted(scheme):
    assert f"`{scheme}`" in PAGE
    assert parse_settings({"state": scheme})[1] == ()
