"""dbt 1.x rejects an invalid sync when it has parsed the project, with the messages of `dbt-stripe-sync parse`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from business import ROOT, run_cli

import dbt_stripe_sync

SCHEMA = "models/stripe/schema.yml"


def parse_with_dbt(dbt, project, **environment):
    command = [str(dbt), "--no-use-colors", "parse", "--target", "duckdb"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", **environment}
    options = ["--project-dir", str(project), "--profiles-dir", str(project)]
    done = subprocess.run([*command, *options], cwd=project, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def misspell(project):
    schema = project / SCHEMA
    schema.write_text(schema.read_text().replace("lookup_key: price_code", "lookup_kee: price_code"))


def flat(text):
    return " ".join(text.split())


def test_dbt_parse_fails_on_a_bad_sync_with_the_same_message_as_parse(sample, dbt_1):
    misspell(sample)

    status, said = parse_with_dbt(dbt_1, sample)
    ours = run_cli("parse", "--target", "duckdb", "--project-dir", str(sample), "--profiles-dir", str(sample))

    assert status == 2
    assert "error[unknown-parameter]: unknown parameter `lookup_kee`" in ours.err
    for line in filter(None, ours.err.splitlines()):
        assert flat(line) in flat(said)


def test_dbt_parse_accepts_valid_syncs_and_a_disabled_plugin_prints_nothing(sample, dbt_1):
    good = parse_with_dbt(dbt_1, sample)
    misspell(sample)
    off = parse_with_dbt(dbt_1, sample, DBT_STRIPE_SYNC_PLUGIN="0")

    assert good[0] == 0, good[1]
    assert off[0] == 0, off[1]


@pytest.mark.slow
def test_a_project_without_syncs_waits_less_than_50_ms(tmp_path):
    """What dbt pays: the import, the plugin, and a walk over 5,000 models none of which is tagged."""
    script = tmp_path / "measure.py"
    script.write_text(
        "import time\n"
        "from types import SimpleNamespace as N\n"
        "import dbt.plugins.manager\n"
        "nodes = {str(i): N(config=N(meta={'owner': 'x'})) for i in range(5000)}\n"
        "began = time.perf_counter()\n"
        "import dbt_stripe_sync\n"
        "(plugin,) = dbt_stripe_sync.plugins\n"
        "plugin(project_name='shop').get_manifest_artifacts(N(nodes=nodes))\n"
        "print(time.perf_counter() - began)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.05


@pytest.mark.telling
def test_dbt_continues_even_if_its_plugin_interface_changed(capsys):
    (plugin,) = dbt_stripe_sync.plugins

    left = plugin(project_name="shop").get_manifest_artifacts(SimpleNamespace(nodes=None))

    assert left == {}
    assert "`dbt-stripe-sync parse` does" in capsys.readouterr().err


def test_the_results_before_a_command_are_found_through_a_variable_in_vars_yml(customers, monkeypatch):
    """As dbt 1.12 starts a command: the target folder still has the results of the previous one."""
    flags = pytest.importorskip("dbt.flags")
    root = customers.root
    (root / "target").rename(root / "out-dev")
    (root / "vars.yml").write_text("vars: {kind: dev}\n")
    project = {"name": "shop", "version": "1.0", "profile": "shop", "target-path": "out-{{ var('kind') }}"}
    (root / "dbt_project.yml").write_text(json.dumps(project))
    monkeypatch.setattr(flags, "GLOBAL_FLAGS", SimpleNamespace(PROJECT_DIR=str(root), TARGET_PATH=None, VARS={}))
    (plugin,) = dbt_stripe_sync.plugins

    plugin(project_name="shop")

    assert [*(root / ".stripe_sync" / "dbt_results").iterdir()]


def test_without_dbt_there_is_no_plugin_and_no_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "dbt.plugins.manager", None)
    monkeypatch.delitem(sys.modules, "dbt_stripe_sync.dbt.plugin", raising=False)

    assert dbt_stripe_sync.plugins == []


def test_importing_the_package_imports_nothing_slow():
    code = (
        "import sys, dbt_stripe_sync; print(*(n for n in ('duckdb', 'stripe', 'pyarrow', 'click') if n in sys.modules))"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )

    assert done.stdout.strip() == ""
    assert time.perf_counter() - began < 5
