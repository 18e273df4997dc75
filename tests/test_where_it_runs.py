"""The pages about deployment, the GitHub Action and the image: blocks that can run are run, others are checked."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from business import ROOT
from dbt_cloud_server import DbtCloud, dbt, results
from doc_blocks import blocks

from dbt_stripe_sync.config.settings import parse_settings
from dbt_stripe_sync.integrations.github_comment import main as write_comment
from dbt_stripe_sync.report.alert import REASON_OF

DOCS = ROOT / "docs"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
BIN = Path(sys.executable).parent


# ── dbt Cloud ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def built(customers, monkeypatch):
    """The customers' project, built by a job 7 of dbt Cloud, whose last run is 900."""
    file = customers.root / "target" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.unlink()
    with DbtCloud() as cloud:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        customers.step = dbt("dbt build", manifest=manifest, run_results=results(customers="success"))
        cloud.add_run(customers.step)
        customers.cloud = cloud
        yield customers


def commands_of(page: str) -> list[list[str]]:
    """The commands of our own in a page's console blocks."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    return [line.removeprefix("$ dbt-stripe-sync ").split() for line in lines if line.startswith("$ dbt-stripe-sync ")]


def test_the_page_on_dbt_cloud_works(built):
    plan, run, trigger = commands_of("dbt-cloud.md")

    assert built.cli(*plan).exit_code == 0
    assert built.cli(*run).exit_code == 0
    assert built.stripe.count("customer") == 3
    cause = trigger.index("--cause")
    assert trigger[:2] == ["cloud", "trigger"]
    built.cloud.next_run = built.cloud.jobs[7][0]
    built.cloud.next_run.ahead = [10]
    ran = built.cli(*trigger[:cause], "--cause", " ".join(trigger[cause + 1 :]).strip('"'), "--poll", "0.1")
    assert ran.exit_code == 0, ran.text
    assert built.cloud.jobs[7][-1].cause.startswith("Nightly sync (")


def test_the_page_lists_the_variables_that_are_read():
    from dbt_stripe_sync.cloud import read_access

    exported = dict(re.findall(r"export (\w+)=(\S+)", blocks("dbt-cloud.md")[0]))

    access = read_access(exported)

    assert access.base_url == "https://ab123.us1.dbt.com"
    assert access.account_id == "4321"


# ── serve ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("openssl"), reason="curl or openssl is not here")
def test_the_page_on_serve_works_from_start_to_curl(built, monkeypatch):
    monkeypatch.setenv("DBT_CLOUD_WEBHOOK_SECRET", "any text")
    (command,) = commands_of("serve.md")
    options = ["--project-dir", str(built.root), "--profiles-dir", str(built.root), "--stripe-url", built.stripe.url]
    server = subprocess.Popen(
        [sys.executable, "-m", "dbt_stripe_sync", *command, *options, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        url = server.stdout.readline().split()[0]
        (curl,) = (block for block in blocks("serve.md") if "curl" in block)
        script = curl.replace("http://127.0.0.1:8787", url)

        answers = [
            subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout for _ in range(2)
        ]
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()

    assert json.loads(answers[0]) == {"status": "queued", "id": "wev_try"}
    assert json.loads(answers[1])["status"] == "duplicate"


def test_serve_accepts_a_signature_made_as_the_page_describes():
    from dbt_stripe_sync.serve.webhook import is_signed

    assert is_signed(b"x", hmac.new(b"secret", b"x", hashlib.sha256).hexdigest(), "secret")


# ── systemd, cron ────────────────────────────────────────────────────────────────────────────────────────────────


def units() -> dict[str, str]:
    found = [block for page in ("serve.md", "orchestrators.md") for block in blocks(page, "ini")]
    return {Path(block.splitlines()[0].removeprefix("# ")).name: block for block in found}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_accepts_the_units_of_the_pages(tmp_path):
    # What they start is not on this machine under its path there.
    for name, text in units().items():
        (tmp_path / name).write_text(text.replace("/srv/venv/bin/dbt-stripe-sync", str(BIN / "dbt-stripe-sync")))
    (tmp_path / "network-online.target").write_text("[Unit]\nDescription=Network\n")

    checked = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", *map(str, sorted(tmp_path.glob("stripe-sync*")))],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
    )

    assert len(units()) == 3
    assert [line for line in checked.stderr.splitlines() if "stripe-sync" in line] == []


def test_the_commands_of_the_units_and_of_cron_exist():
    (cron,) = (block for block in blocks("orchestrators.md") if block.startswith("0 4 * * *"))
    started = [line for text in units().values() for line in text.splitlines() if line.startswith("ExecStart=")]

    for line in [*started, cron]:
        arguments = line.partition("/srv/venv/bin/dbt-stripe-sync ")[2].split()
        helped = subprocess.run(
            [sys.executable, "-m", "dbt_stripe_sync", arguments[0], "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert {word for word in arguments if word.startswith("--")} - {
            *re.findall(r"--[a-z-]+", helped.stdout)
        } == set()
    assert subprocess.run(["bash", "-n", "-c", cron.split(maxsplit=5)[5]]).returncode == 0


# ── alerts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_settings_of_the_page_on_alerts_are_accepted():
    for block in blocks("alerts.md", "yaml"):
        settings, problems = parse_settings(yaml.safe_load(block)["vars"]["stripe_sync"])
        assert problems == ()
        assert settings.alerts


def test_the_page_on_alerts_shows_the_json_that_is_sent():
    from dbt_stripe_sync.model.alert import REASONS, AlertMessage, SyncAlert

    (block,) = blocks("alerts.md", "json")
    shown = json.loads(block)

    assert set(shown) == {"version", "event", *AlertMessage.__struct_fields__}
    assert set(shown["syncs"][0]) == set(SyncAlert.__struct_fields__)
    page = (DOCS / "alerts.md").read_text()
    assert [reason for reason in REASONS if f"| `{reason}` |" not in page] == []
    assert set(REASON_OF.values()) <= set(REASONS)


# ── the action ───────────────────────────────────────────────────────────────────────────────────────────────────


class GitHub:
    """GitHub's REST API for comments of issues (docs.github.com/rest/issues/comments), over HTTP."""

    summary: Path

    def __init__(self) -> None:
        self.comments: list[dict] = [
            {"id": number, "body": f"somebody's comment {number}", "html_url": "x"} for number in range(1, 151)
        ]
        self.tokens: set[str] = set()
        self.status = 200
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_route("*", "/repos/acme/shop/issues/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.Response:
        self.tokens.add(request.headers["Authorization"])
        if self.status != 200:
            return web.json_response({"message": "Resource not accessible by integration"}, status=self.status)
        if request.method == "GET":
            assert request.match_info["path"] == "12/comments"
            size, page = int(request.query["per_page"]), int(request.query["page"])
            return web.json_response(self.comments[size * (page - 1) : size * page])
        body = (await request.json())["body"]
        if request.method == "PATCH":
            number = int(request.match_info["path"].removeprefix("comments/"))
            (comment,) = (c for c in self.comments if c["id"] == number)
            comment["body"] = body
            return web.json_response(comment)
        comment = {"id": len(self.comments) + 1, "body": body, "html_url": "https://github.com/acme/shop/pull/12#c"}
        self.comments.append(comment)
        return web.json_response(comment, status=201)


@pytest.fixture
def github(tmp_path, monkeypatch):
    server = GitHub()
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 12}}))
    (tmp_path / "runner").mkdir()
    environment = {
        "GITHUB_API_URL": server.url,
        "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_TOKEN": "ghs_secret",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "RUNNER_TEMP": str(tmp_path / "runner"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    server.summary = tmp_path / "summary.md"
    yield server
    server.close()


def act(business, event: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The action's own script, with the inputs as GitHub would fill them in."""
    (step,) = (step for step in ACTION["runs"]["steps"] if step["name"] == "Plan or run")
    given = {name: spec["default"] for name, spec in ACTION["inputs"].items()} | inputs
    environment = {}
    for name, value in step["env"].items():
        found = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value)
        environment[name] = given[found[1]] if found else value
    environment["COMMAND"] = given["command"] or ("plan" if event.startswith("pull_request") else "run")
    environment["GITHUB_TOKEN"] = "ghs_secret"
    environment |= {"STRIPE_API_BASE": business.stripe.url, "DBT_PROFILES_DIR": str(business.root)}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={**os.environ, **environment, "GITHUB_EVENT_NAME": event, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


def test_a_pull_request_gets_one_comment_that_each_push_updates(customers, github):
    first = act(customers, "pull_request", **{"project-dir": str(customers.root)})
    customers.table("customers", "SELECT * FROM customers WHERE id = 1")
    second = act(customers, "pull_request", **{"project-dir": str(customers.root)})

    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    ours = [comment["body"] for comment in github.comments if "dbt-stripe-sync" in comment["body"]]
    assert len(ours) == 1
    assert "1" in ours[0]
    assert "a@example.com" not in ours[0]
    assert customers.stripe.count("customer") == 0
    assert "customers" in github.summary.read_text()
    assert github.tokens == {"Bearer ghs_secret"}


def test_a_push_to_the_main_branch_syncs(customers, github):
    done = act(customers, "push", **{"project-dir": str(customers.root)})

    assert done.returncode == 0, done.stderr
    assert customers.stripe.count("customer") == 3
    assert "3 created" in github.summary.read_text()
    assert len(github.comments) == 150


def test_a_plan_that_cannot_be_made_fails_the_job_and_says_so(customers, github):
    (customers.root / "target" / "manifest.json").unlink()

    done = act(customers, "pull_request", **{"project-dir": str(customers.root)})

    assert done.returncode == 2
    assert "error[no-manifest]" in done.stderr
    assert "could not be made" in github.comments[-1]["body"]


@pytest.mark.usefixtures("github")
def test_a_shell_never_evaluates_inputs(customers, tmp_path):
    evil = f"$(touch {tmp_path}/pwned)"

    act(customers, "push", **{"project-dir": evil, "target": evil, "select": evil, "arguments": evil})

    assert not (tmp_path / "pwned").exists()
    (script,) = (step["run"] for step in ACTION["runs"]["steps"] if step["name"] == "Plan or run")
    assert "${{" not in script


def test_a_comment_that_cannot_be_written_is_reported(github, tmp_path, capsys):
    github.status = 403
    plan = tmp_path / "plan.md"
    plan.write_text("plan")

    assert write_comment([str(plan)]) == 1
    told = capsys.readouterr().err
    assert "error[github-comment]: GitHub answered 403" in told
    assert "pull-requests: write" in told
    assert "ghs_secret" not in told


def test_a_long_plan_is_shortened(github, tmp_path):
    plan = tmp_path / "plan.md"
    plan.write_text("a line of the plan\n" * 10_000)

    assert write_comment([str(plan)]) == 0
    assert len(github.comments[-1]["body"]) < 65_536
    assert github.comments[-1]["body"].endswith("the job's log has the whole plan.")


@pytest.mark.usefixtures("github")
def test_outside_a_pull_request_it_says_why_there_is_no_comment(tmp_path, capsys):
    (tmp_path / "event.json").write_text("{}")

    assert write_comment([str(tmp_path / "event.json")]) == 1
    assert "let the workflow run on `pull_request`" in capsys.readouterr().err


def test_the_workflow_of_the_page_names_existing_inputs():
    (block,) = blocks("orchestrators.md", "yaml")
    workflow = yaml.safe_load(block)
    (step,) = (s for s in workflow["jobs"]["stripe"]["steps"] if "dbt-stripe-sync" in s["uses"])

    assert set(step["with"]) <= set(ACTION["inputs"])
    assert workflow["jobs"]["stripe"]["permissions"]["pull-requests"] == "write"


# ── the image ────────────────────────────────────────────────────────────────────────────────────────────────────


ACTIONLINT = shutil.which("actionlint") or shutil.which("actionlint", path=str(Path.home() / "go" / "bin"))


@pytest.mark.skipif(ACTIONLINT is None, reason="actionlint is not here")
def test_actionlint_accepts_the_workflows_of_the_pages_and_the_action(tmp_path):
    """The inputs that a workflow gives to the action are checked against `action.yml`, too."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (tmp_path / "dbt-stripe-sync").mkdir()
    shutil.copy(ROOT / "action.yml", tmp_path / "dbt-stripe-sync")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    found = [block for page in ("orchestrators.md", "remote-state.md") for block in blocks(page, "yaml")]
    workflows = [block for block in found if re.search(r"^jobs:", block, flags=re.MULTILINE)]
    for number, block in enumerate(workflows):
        head = "" if re.search(r"^on:", block, flags=re.MULTILINE) else "on: push\n"
        (folder / f"page-{number}.yml").write_text(head + block)
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        shutil.copy(file, folder)

    checked = subprocess.run([ACTIONLINT, "-no-color"], cwd=tmp_path, capture_output=True, text=True)

    assert len(workflows) == 2
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_image_copies_the_package_sources_and_runs_as_nobody():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

    assert sorted(name for names in copied for name in names) == sorted(kept)
    assert all((ROOT / name).exists() for name in kept)
    assert 'ENTRYPOINT ["dbt-stripe-sync"]' in lines
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]


def test_the_image_has_every_file_that_the_build_needs():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brings it")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]

    built_from = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    assert built_from | set(project["project"]["license-files"]) | {"pyproject.toml"} == kept
