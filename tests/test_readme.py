"""Checks the README and the pages in docs/ against the program: commands, examples, codes, links.

`python tests/test_readme.py` rewrites the list of commands.
"""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from inspect import cleandoc

import click
import pytest
import yaml
from business import ROOT, run_cli

from dbt_stripe_sync import Project
from dbt_stripe_sync.cli.commands import commands
from dbt_stripe_sync.config.limits import LIMITS
from dbt_stripe_sync.config.settings import NAMES, parse_settings
from dbt_stripe_sync.config.sync import KEYS, parse_syncs
from dbt_stripe_sync.dbt.manifest import read_manifest
from dbt_stripe_sync.project_state import ProjectState
from dbt_stripe_sync.stripe_api.catalog import read_catalog

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
COMMANDS = ROOT / "docs" / "commands.md"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "sample_dbt_project" / "README.md")
}
START = "<!-- commands: `python tests/test_readme.py` writes them -->\n"
END = "<!-- end of commands -->"
# A wider block would scroll on the site.
WIDTH = 84
ORCHESTRATORS = {"airflow", "dagster", "dagster_dbt", "prefect"}
# Files and settings in the README that look like codes of problems.
NO_CODES = {"dbt-stripe-sync", "show-values", "no-color"}
SET_UP = (
    "python3.11 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/dbt-stripe-sync demo",
    "python3.11 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest",
)


def blocks(language: str, pages=PAGES) -> list[str]:
    """The blocks of code of all pages in one language. Those of the tutorial have a test of their own."""
    found = (
        re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], flags=re.DOTALL | re.MULTILINE)
        for page in pages
        if page != "docs/tutorial.md"
    )
    return [block for page in found for block in page]


# ── the commands ─────────────────────────────────────────────────────────────────────────────────────────────────


def render_commands() -> str:
    """A section for each command, with the options of its own; those that most share come first."""
    listed = list(walk(commands, click.Context(commands, info_name="dbt-stripe-sync")))
    run, ls = ({(p.opts[0], getattr(p, "help", "")) for p in find(name, listed).params} for name in ("run", "ls"))
    # The formats differ from command to command.
    shared = {option for option, _ in run & ls} - {"--output"}
    parts = ["### Options of all commands that read a project\n"]
    parts.append(code_block(options_of(find("run", listed), lambda option: option.opts[0] in shared)))
    for command, context in listed:
        name = " ".join(context.command_path.split())
        parts.append(f"### `{name.removeprefix('dbt-stripe-sync ')}`\n")
        parts.append(textwrap.fill(" ".join(cleandoc(command.help or "").split()), 120, break_on_hyphens=False) + "\n")
        own = options_of(command, lambda option: option.opts[0] not in shared)
        parts.append(code_block(f"{name}{arguments_of(command)}\n{own}"))
    return "\n" + "\n".join(parts) + "\n"


def code_block(text: str) -> str:
    return f"```text\n{text}```\n"


def walk(group: click.Group, parent: click.Context):
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from walk(command, context)
        else:
            yield command, context


def find(name: str, listed) -> click.Command:
    return next(command for command, context in listed if context.info_name == name)


def arguments_of(command: click.Command) -> str:
    metavars = (p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument))
    return "".join(f" {metavar}" for metavar in metavars)


def options_of(command: click.Command, is_wanted) -> str:
    """The options as click prints them."""
    formatter = click.HelpFormatter(width=WIDTH)
    options = [p for p in command.params if isinstance(p, click.Option) and is_wanted(p)]
    records = [option.get_help_record(click.Context(command)) for option in options]
    if any(records):
        with formatter.indentation():
            formatter.write_dl([record for record in records if record], col_max=34)
    return formatter.getvalue()


def with_commands(text: str) -> str:
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + render_commands() + END + after


def test_every_command_is_documented_with_its_options():
    text = PAGES["docs/commands.md"]
    assert with_commands(text) == text, "run `python tests/test_readme.py`, and read docs/commands.md once more"


def test_the_list_of_commands_matches_the_help():
    shown = " ".join(run_cli("run", "--help").out.split())
    listed = " ".join(render_commands().split())

    for phrase in ("Plan and apply: make Stripe match the models.", "Send at most this many changes."):
        assert phrase in shown
        assert phrase in listed


def test_a_mistyped_command_is_reported_in_a_line():
    ran = run_cli("sandboxx")

    assert ran.exit_code == 2
    assert "No such command 'sandboxx'. Did you mean 'sandbox'?" in ran.text
    assert "Traceback" not in ran.text


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--no-color", "plan"], "plan --no-color"),
        (["--project-dir", "a b", "state", "list"], "state list --project-dir 'a b'"),
        (["--select", "orders", "plan"], "plan --select orders"),
    ],
)
def test_an_option_before_the_command_is_reported_with_the_right_order(given, meant):
    ran = run_cli(*given)

    assert ran.exit_code == 2
    assert f"Options come after the command: dbt-stripe-sync {meant}\n" in ran.err


def every_help():
    """The arguments that print each help there is, those of groups too."""
    for _, context in walk(commands, click.Context(commands, info_name="dbt-stripe-sync")):
        yield [*context.command_path.split()[1:], "--help"]
    yield ["--help"]
    yield from ([group, "--help"] for group in ("state", "log", "cloud"))


@pytest.mark.parametrize("arguments", list(every_help()), ids=" ".join)
def test_every_help_fits_80_columns_without_cutting_a_sentence(arguments, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    shown = run_cli(*arguments).out

    assert shown.startswith("Usage: dbt-stripe-sync")
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "..." not in shown.partition("Commands:")[2]


# ── how to begin ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", SET_UP)
def test_both_set_up_commands_are_on_separate_lines(command):
    lines = [line for line in TEXT.splitlines() if line.startswith("python3.11 -m venv")]

    assert lines.count(command) == 1
    assert len(lines) == len(SET_UP)


def test_the_ci_takes_its_test_command_from_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    (line,) = (line for line in script.splitlines() if line.startswith('command="$(grep'))
    found = subprocess.run(
        ["bash", "-c", f'{line}\necho "$command"'], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == SET_UP[1]


# ── examples ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_yaml_example_parses():
    assert len(blocks("yaml")) >= 4
    for block in blocks("yaml"):
        assert isinstance(yaml.safe_load(block), dict)


# The rows of the models in the README's examples.
ROWS = {
    "dim_customers": "SELECT 1 user_id, 'ann@example.com' email, 'Ann' first_name, 'Ames' last_name, 'team' plan_name "
    "UNION ALL SELECT 2, 'bob@example.com', 'Bob', 'Best', 'solo'",
    "stripe_accounts": "SELECT 1 account_id, 'Acme' company, 'a@x.example' email, 'pro' plan_code, 'S 1' street, "
    "'Bonn' city, 'DE' country, 'de' AS language, 0.00 credit, DATE '2025-01-02' customer_since",
    "stripe_plan_prices": "SELECT 'pro' plan_code, 'Pro' plan_name, 'USD' currency, 29.50 price",
    "stripe_contracts": "SELECT 1 account_id, 7 contract_no, CAST(NULL AS VARCHAR) tax_code",
    "stripe_contract_lines": "SELECT 1 account_id, 7 contract_no, 1 line_no, 'pro' plan_code, 3 seats",
    "stripe_meters": "SELECT 'api_calls' metric, 'API calls' title",
    "stripe_usage": "SELECT 'u1' usage_id, 1 account_id, CAST(now() AS TIMESTAMP) used_at, 5 quantity",
    "stripe_customers": "SELECT 1 customer_id, 'a@x.example' email",
}
# Two models of the page on usage have the names of others with other columns.
ROWS_OF_USAGE = {
    "stripe_meters": "SELECT 'api_calls' event_name, 'API calls' AS label",
    "stripe_usage": "SELECT 'u1' event_id, 1 customer_id, CAST(now() AS TIMESTAMP) happened_at, 5 amount",
}
MAPPINGS = [block for block in blocks("yaml") if block.startswith("models:")]


@pytest.fixture(params=MAPPINGS, ids=["guide", "index", "reference", "usage"])
def example(request, business):
    """A project that has the models of an example, as dbt leaves it behind."""
    models = {model["name"]: model for model in yaml.safe_load(request.param)["models"]}
    rows = ROWS | ROWS_OF_USAGE if "stripe_customers" in models else ROWS
    for name, model in models.items():
        business.table(name, rows[name])
        business.models[name]["meta"] = model.get("config", {}).get("meta", {})
    business.write_manifest()
    file = business.root / "target" / "manifest.json"
    manifest = json.loads(file.read_text())
    for node in manifest["nodes"].values():
        columns = models[node["name"]].get("columns", [])
        node["columns"] = {c["name"]: {"name": c["name"], **c.get("config", {})} for c in columns}
    file.write_text(json.dumps(manifest))
    return business


def test_every_example_of_a_mapping_is_valid(example):
    nodes = read_manifest(example.root / "target" / "manifest.json").nodes

    parsed = parse_syncs(nodes, read_catalog(), project="shop")

    assert [f"{problem.code}: {problem.summary}" for problem in parsed.problems] == []
    assert parsed.syncs


def test_every_example_of_a_mapping_syncs_once(example):
    first = example.cli("run")
    example.write_calls()
    second = example.cli("run")

    assert first.exit_code == 0, first.text
    assert second.exit_code == 0, second.text
    assert example.write_calls() == []


@pytest.mark.parametrize("example", MAPPINGS[:1], indirect=True, ids=["guide"])
def test_the_guide_shows_what_the_commands_print(example):
    (guide,) = (block for block in blocks("console") if "$ dbt-stripe-sync show" in block)
    (planned,) = (block for block in blocks("console") if "$ dbt-stripe-sync plan\n" in block)
    (synced,) = (block for block in blocks("console") if "$ dbt-stripe-sync run\n" in block)
    checked = planned.partition("$ dbt-stripe-sync plan\n")[0].partition("debug\n")[2].splitlines()

    parsed = example.cli("parse")
    shown = example.cli("show", "dim_customers", "--limit", "1")
    debugged = example.cli("debug").out.splitlines()
    plan = example.cli("plan", "--show-values")

    assert f"$ dbt-stripe-sync parse\n{parsed.out}$" in guide
    assert f"$ dbt-stripe-sync show dim_customers --limit 1\n{shown.out}" in guide
    assert [line.split()[:2] for line in debugged] == [line.split()[:2] for line in checked]
    assert f"$ dbt-stripe-sync plan\n{plan.out.partition('  + 2')[0]}  + 2\n" in planned
    totals, _, hint = plan.out.rstrip().splitlines()[-3:]
    assert totals in planned.splitlines()
    assert hint in planned.splitlines()
    for _ in range(2):
        ran = example.cli("run").out.splitlines()
        assert f"$ dbt-stripe-sync run\n{ran[0]}\n…\n" in synced
    assert "Run succeeded (exit 0)." in ran


@pytest.mark.parametrize("example", MAPPINGS[:1], indirect=True, ids=["guide"])
def test_the_page_on_the_state_shows_what_the_commands_print(example):
    (page,) = (block for block in blocks("console") if "$ dbt-stripe-sync state list\n" in block)
    assert example.cli("run").exit_code == 0

    listed = example.cli("state", "list").out
    records = example.cli("state", "list", "dim_customers").out
    record = example.cli("state", "show", "dim_customers", "1").out

    assert f"$ dbt-stripe-sync state list\n{listed}$" in page
    for shown in (records, record):
        assert re.sub(r"cus_\w+", "cus_", shown) in re.sub(r"cus_\w+", "cus_", page)


def test_every_example_of_settings_is_accepted():
    found = [parse_settings(yaml.safe_load(b)["vars"]["stripe_sync"]) for b in blocks("yaml") if b.startswith("vars:")]

    assert len(found) >= 2
    assert [problem.summary for _, problems in found for problem in problems] == []


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_import_existing_names(code):
    lines = [line for line in code.splitlines() if line.startswith(("from ", "import "))]
    # The orchestrators' own examples run in their own environments, with the orchestrators there.
    ours = [line for line in lines if line.split()[1].split(".")[0] not in ORCHESTRATORS and "integrations" not in line]

    assert lines
    exec("\n".join(ours), {})  # noqa: S102 - the README's own lines


def test_the_python_example_plans_applies_and_prints_what_failed(customers, monkeypatch, capsys):
    (code,) = (block for block in blocks("python") if "project.apply" in block)
    options = f'profiles_dir=Path("shop"), stripe_url="{customers.stripe.url}"'
    code = code.replace('target="prod", select=("tag:stripe",)', options)
    monkeypatch.chdir(customers.root.parent)

    with pytest.raises(SystemExit) as ended:
        exec(code, {})  # noqa: S102 - the README's own lines

    assert ended.value.code == 0
    assert customers.stripe.count("customer") == 3
    assert capsys.readouterr().out.count("create") == 3


def test_the_python_example_prints_problems(customers, monkeypatch, capsys):
    (code,) = (block for block in blocks("python") if "project.apply" in block)
    monkeypatch.chdir(customers.root)

    with pytest.raises(SystemExit) as ended:
        exec(code, {})  # noqa: S102 - the README's own lines

    assert ended.value.code == 2
    assert "no-project" in capsys.readouterr().out


def test_every_call_on_the_python_page_exists():
    page = PAGES["docs/python.md"]
    (state,) = re.findall(r"^\| `project.state` \| the state: (.*) \|$", page, flags=re.MULTILINE)
    (looks,) = re.findall(r"^\| `project.show\(.*?\)`, (.*?) \|", page, flags=re.MULTILINE)
    calls = {*re.findall(r"\b[pP]roject\.(\w+)", page), *re.findall(r"`(\w+)`", looks)} - {"toml"}

    assert len(calls) > 10
    assert {name for name in calls if not hasattr(Project, name)} == set()
    assert {name for name in re.findall(r"`(\w+)`", state) if not hasattr(ProjectState, name)} == set()


# ── what it names ────────────────────────────────────────────────────────────────────────────────────────────────


def documented_codes() -> set[str]:
    return set(re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "problems.md").read_text(), flags=re.MULTILINE))


def test_every_problem_that_a_page_names_is_documented():
    lists = [found for text in PAGES.values() for found in re.findall(r"\((`[a-z]+(?:-[a-z]+)+`[^()\n]*)\)", text)]
    named = {code for found in lists for code in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", found)} - NO_CODES

    assert len(named) > 10
    assert named <= documented_codes()


def test_every_variable_of_the_environment_is_explained():
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "dbt_stripe_sync").rglob("*.py"))
    ours = set(re.findall(r"\bDBT_STRIPE_SYNC_[A-Z0-9]+\b", sources))
    read = re.findall(r'\bdbt_variable\([a-z.]+, "([A-Z_]+)"\)', sources)
    dbts = {f"DBT_{name}" for name in (*read, "PROJECT_DIR")}

    assert len(ours) >= 3
    assert len(dbts) > 3
    assert {name for name in ours | dbts if f"`{name}`" not in PAGES["docs/commands.md"]} == set()


@pytest.mark.parametrize("key", [*KEYS, *LIMITS])
def test_every_key_of_a_sync_is_explained(key):
    assert f"`{key}`" in PAGES["docs/sync.md"]


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_explained(name):
    assert re.search(rf"^\| .*`{name}`.* \|", PAGES["docs/settings.md"], flags=re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = (line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#"))
    return {re.sub(r"[^\w -]", "", heading).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_no_link_is_broken(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", PAGES[page]):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_the_readme_has_at_most_200_lines():
    assert len(TEXT.splitlines()) <= 200


def test_every_page_is_in_the_navigation_of_the_site():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"([\w/-]+\.md)$", text, flags=re.MULTILINE))

    docs = ROOT / "docs"
    assert named == {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}


def test_every_page_is_reachable_from_the_readme():
    # The index is the first page of the site, where the README is not.
    pages = {page for page in PAGES if page not in {"README.md", "docs/index.md"}}

    assert {page for page in pages if f"]({page}" not in TEXT} == set()


if __name__ == "__main__":
    COMMANDS.write_text(with_commands(PAGES["docs/commands.md"]), encoding="utf-8")
