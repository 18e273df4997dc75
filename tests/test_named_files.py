"""Files and numbers that a person names on the command line: one that can't be is refused, never a traceback."""

from __future__ import annotations

import pytest
from business import run_cli

WRITES = [
    ("plan", "--out"),
    ("docs", "--out"),
    ("schema", "--out"),
    ("log", "source", "--out"),
    ("state", "export"),
]


def run(business, command, file):
    """A command that writes the file; `schema` has no project."""
    if command[0] != "schema":
        return business.cli(*command, str(file))
    return run_cli(*command, str(file))


@pytest.fixture
def shop(customers):
    customers.set(log="warehouse")
    customers.cli()
    return customers


def test_a_folder_that_cannot_hold_the_demo_is_named():
    ran = run_cli("demo", "--dir", "/proc/nowhere")

    assert ran.exit_code == 2
    assert "error[file-unusable]" in ran.err
    assert "  at /proc/nowhere" in ran.err


@pytest.mark.parametrize("command", WRITES, ids=" ".join)
def test_a_file_that_cannot_be_written_is_named(shop, command):
    file = "/proc/nowhere"

    ran = run(shop, command, file)

    assert ran.exit_code == 2
    assert "written: no such file or directory" in ran.err
    assert f"  at {file}" in ran.err
    assert "hint: " in ran.err


@pytest.mark.parametrize(
    "command", [*WRITES, ("plan", "--state-path"), ("state", "list", "--state-path")], ids=" ".join
)
@pytest.mark.parametrize(
    ("path", "why"),
    [("", "the path is empty"), ("x" * 300, "File name too long"), ("a\0b", "null byte")],
    ids=["empty", "long", "null"],
)
def test_a_path_that_no_file_can_have_is_refused(shop, command, path, why):
    ran = run(shop, command, path)

    assert ran.exit_code == 2
    assert "Error: Invalid value for" in ran.err
    assert why in ran.err


def test_a_file_that_is_no_text_is_never_overwritten(shop):
    ran = shop.cli("docs", "--out", str(shop.warehouse))

    assert ran.exit_code == 2
    assert "error[file-exists]" in ran.err


@pytest.mark.parametrize("path", ["loop", "x" * 300, "."])
def test_a_path_in_the_settings_that_no_file_can_have_is_named(customers, path):
    file = customers.root / path
    if path == "loop":
        file.symlink_to(file)
    customers.set(state_path=str(file))

    for command in (("run",), ("plan",), ("state", "list")):
        ran = customers.cli(*command)

        assert ran.exit_code == 2
        assert str(file) in ran.err
        assert "hint: " in ran.err
        assert "move the file away" not in ran.err


@pytest.mark.parametrize(
    "command", [("plan",), ("show", "customers"), ("runs",), ("state", "list", "customers")], ids=" ".join
)
def test_a_limit_above_any_number_of_rows_shows_all(shop, command):
    with_limit = shop.cli(*command, "--limit", "9" * 30, "--output", "json")

    assert with_limit.exit_code == 0, with_limit.err
    assert len(with_limit.out.splitlines()) == len(shop.cli(*command, "--output", "json").out.splitlines())


@pytest.mark.parametrize("command", [("undo", "--yes"), ("report",), ("retry",)], ids=" ".join)
def test_an_empty_run_id_is_no_run(shop, command):
    """It is a script's unset variable: `undo "$RUN" --yes` must not undo the only run."""
    name, *options = command

    ran = shop.cli(name, "", *options)

    assert ran.exit_code == 2
    assert "error[no-run]: unknown run ``" in ran.err
    assert shop.stripe.count("customer") == 3


def test_a_port_that_does_not_exist_is_refused():
    ran = run_cli("sandbox", "--port", "70000")

    assert ran.exit_code == 2
    assert "70000 is not in the range 0<=x<=65535" in ran.err


def test_an_empty_state_url_is_not_the_local_state(customers):
    """A script's unset variable must not start a new state on the machine."""
    ran = customers.cli("run", "--state-url", "")

    assert ran.exit_code == 2
    assert "error[bad-state-url]: `--state-url` is not the URL of an object store" in ran.err
    assert not customers.state.exists()
