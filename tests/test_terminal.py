"""Text from a row or from Stripe can't control a terminal, and a key in it is never shown."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from on_terminal import in_a_terminal

from dbt_stripe_sync.report.lines import Paint, plain, printable
from dbt_stripe_sync.report.redact import hide_keys
from dbt_stripe_sync.report.tables import render_params, render_table

TITLE = "\x1b]0;PWN\x07"
TURNED = "gro.elpmaxe\u202e"
EVIL = f"{TITLE}\x9b31m\x7f{TURNED}\r"
KEYS = (
    "sk_live_51MarkedKeyThatMustNeverBeSeen",
    "rk_test_51MarkedKeyThatMustNeverBeSeen",
    "sk_org_51MarkedKeyThatMustNeverBeSeen",
    "whsec_51MarkedKeyThatMustNeverBeSeen",
)
# Stripe makes these of letters and digits, or of base64: some have no digit.
SIGNING_SECRETS = ("whsec_MarkedSecretOfLettersAloneAbcdefg", "whsec_AbcdefghijklmMarked/Base+64==")
HARMLESS = {"\n"}


def acting(text):
    """The characters of a text that would act on a terminal."""
    return {char for char in text if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} and char not in HARMLESS}


@pytest.fixture
def hostile(business):
    """Rows whose every cell tries something: the key, the values, a metadata's name."""
    rows = [(f"{EVIL}{number}", f"{key} {EVIL}", "not an address") for number, key in enumerate(KEYS)]
    business.rows("people", *rows, (KEYS[0], KEYS[1], KEYS[2]), columns="id text, name text, email text")
    fields = {"name": "name", f"metadata.{KEYS[3]}": "name", "description": "id"}
    business.sync("people", resource="customer", key="id", fields=fields)
    return business


COMMANDS = (
    ("ls",),
    ("show", "people", "--limit", "9"),
    ("show", "people", "--limit", "9", "--output", "json"),
    ("plan", "--show-values"),
    ("plan", "--show-values", "--format", "markdown"),
    ("plan", "--show-values", "--format", "json"),
    ("run", "--dry-run", "--show-values"),
    ("run",),
    ("runs",),
    ("state", "list"),
    ("state", "list", "people"),
    ("state", "list", "people", "--output", "json"),
    ("state", "show", "people", f"{EVIL}0"),
    ("state", "show", "people", KEYS[0]),
    ("report", "--text", "--show-values"),
    ("report", "--json", "--show-values"),
    ("report", "--html", "--show-values"),
    ("run", "--log-format", "json"),
    ("debug",),
)


def test_no_command_lets_a_cell_control_the_terminal_or_shows_a_key(hostile):
    for command in COMMANDS:
        ran = hostile.cli(*command)
        assert acting(ran.out + ran.err) == set(), command
        assert "MarkedKey" not in ran.out + ran.err, command
    for file in (hostile.root / "target").glob("stripe_sync_*"):
        assert "MarkedKey" not in file.read_text(), file


def test_stripes_answers_cannot_control_the_terminal_either(hostile):
    hostile.sync("people", resource="customer", key="id", fields={"name": "name", "email": "email"})
    for command in (("run",), ("report", "--text", "--show-values"), ("report", "--json", "--show-values"), ("retry",)):
        ran = hostile.cli(*command)
        assert acting(ran.out + ran.err) == set(), command
        assert "MarkedKey" not in ran.out + ran.err, command


@given(st.text())
def test_no_cell_can_control_the_terminal(text):
    assert acting(plain(text)) - {"\xad"} <= {char for char in text if unicodedata.category(char) == "Cf"}
    assert "\n" not in plain(text)
    assert "\x1b" not in printable(text)


def test_tables_also_escape_control_characters():
    rows = [{"a": EVIL, "b": {"x": EVIL}, "c": [EVIL], "d": KEYS[0]}]
    lines = [*render_table(("a", "b", "c", "d"), rows, width=500), *render_params(EVIL, {EVIL: {"x": [EVIL, KEYS[0]]}})]
    assert acting("".join(lines)) == set()
    assert "MarkedKey" not in "".join(lines)


def test_only_the_programs_own_colors_pass():
    ours = Paint(on=True)("done", "green")
    assert printable(ours) == ours
    assert printable("\x1b[5mblink") == "\\x1b[5mblink"


@pytest.mark.parametrize(
    "name", ["pk_customers", "sk_name", "whsec_rotation_of_customers", "rk_id", "task_1234567890", "disk_live_space_7"]
)
def test_a_name_that_resembles_a_key_is_left_alone(name):
    assert hide_keys(name) == name


@pytest.mark.parametrize("key", [*KEYS, *SIGNING_SECRETS])
def test_a_key_is_hidden_wherever_it_is(key):
    assert re.search("Marked", hide_keys(f"x='{key}', {key}: {key}")) is None


ACTING = "\x1b]0;PWN\x07\u202e"
GLUED = "key_sk_live_51AbCdEfGhIjKlMn"


def test_no_output_format_contains_control_characters_or_a_key_inside_a_word(business):
    business.rows("customers", (f"a{ACTING}", GLUED), (GLUED, "Ann"), columns="id text, name text")
    business.sync("customers", resource="customer", key="id", fields={"name": "name", "metadata.x": "name"})
    commands = [
        ("plan", "--show-values"),
        ("plan", "--format", "json", "--show-values"),
        ("plan", "--format", "markdown", "--show-values"),
        ("show", "customers"),
        ("run", "--log-format", "json"),
        ("report", "--text"),
        ("report", "--json"),
        ("state", "list"),
    ]

    said = {" ".join(command): business.cli(*command) for command in commands}
    texts = {name: ran.out + ran.err for name, ran in said.items()}
    texts |= {file.name: file.read_text() for file in (business.root / "target").glob("stripe_sync*")}

    assert {name for name, text in texts.items() if "sk_live_51" in text} == set()
    assert {name for name, text in texts.items() if set("\x1b\x07\u202e") & set(text)} == set()


@pytest.mark.parametrize(("value", "has_colors"), [("", True), ("1", False), ("0", False), ("anything", False)])
def test_any_value_of_no_color_turns_colors_off(business, monkeypatch, value, has_colors):
    monkeypatch.setenv("NO_COLOR", value)
    business.rows("people", ("1", "a@example.com"), columns="id text, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})

    shown, code = in_a_terminal(business, ["plan"], is_painted=True)

    assert code == 0, shown
    assert bool(re.search(r"\x1b\[(\d+;)*3[1-7]m", shown)) is has_colors


@pytest.mark.parametrize(("options", "has_colors"), [([], True), (["--no-color"], False)])
def test_a_problem_is_wrapped_between_words_on_a_terminal_and_colored_unless_that_is_turned_off(
    business, options, has_colors
):
    business.rows("members_of_the_club", (1, "a@example.com"), columns="id int, email text")
    business.sync("members_of_the_club", resource="customer", key="id", fields={"email": "emial"})

    shown, code = in_a_terminal(business, ["plan", *options], is_painted=True)

    assert code == 2
    bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert ("\x1b[31merror[unknown-column]:" in shown) == has_colors
    assert "reads column `emial`, which\n  `members_of_the_club` lacks\n" in bare
    assert max(map(len, bare.splitlines())) <= 80
