"""Checks that docs/resources.md describes what the program does with each resource.

`python tests/test_resources_table.py` rewrites the page.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dbt_stripe_sync.model.lifecycle import Mode, NotReplaced
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of, read_catalog
from dbt_stripe_sync.stripe_api.lifecycles import LIFECYCLES
from dbt_stripe_sync.stripe_api.refusals import REFUSED_V2
from dbt_stripe_sync.stripe_api.sdk import sdk_root

PAGE = Path(__file__).parent.parent / "docs" / "resources.md"
CATALOG = read_catalog()
# docs.stripe.com/api in the order in which a billing team meets them.
CORE = ("customer", "product", "price", "subscription", "invoice", "invoice_item", "quote")
HEAD = """\
# Every resource

<!-- `python tests/test_resources_table.py` writes this page from the program's own data. -->

The Stripe SDK can create {count} kinds of objects, and {synced} of them can be synced.
[The others](#resources-that-cant-be-synced) are listed with the reason. `dbt-stripe-sync fields RESOURCE` lists the
parameters of one.

- **`mode`**: `upsert` creates, finds and updates objects. `insert` writes only rows without an object, and `update`
  only rows with one. If a resource lacks `update`, Stripe never changes its objects.
- **`match`**: the fields by which an existing object can be found. `metadata` stands for `metadata.<name>`.
- **`on_removed`**: what can happen to the object of a row that has left the model. `ignore` is always possible. An
  asterisk marks actions that can't be undone.
- **Immutable parameters**: what happens if a row changes a parameter that Stripe accepts only at creation. Either the
  object is replaced: a new one is created, the row moves to it, and the old one is removed as stated. Or the row is
  rejected, for the reason in parentheses.
- **`options`**: what `options:` accepts.
- **No tag**: objects of this resource have no metadata, so a lost state can't find them again. Back up the state.
- **Parent**: these parameters are part of Stripe's URL. They are mapped like any other and never change.
"""


def render_page() -> str:
    """The whole page."""
    names = CATALOG.names()
    refused = {name: lifecycle_of(name).refused for name in names if lifecycle_of(name).refused is not None}
    ruled = sorted(name for name in names if name in LIFECYCLES and name not in CORE and name not in refused)
    other = sorted(name for name in names if name not in LIFECYCLES and name not in refused)
    return "\n".join(
        [
            HEAD.format(count=len(names), synced=len(names) - len(refused)),
            "## Core resources\n",
            *map(section, CORE),
            "## Resources with special rules\n",
            *map(section, ruled),
            "## All other resources\n\nTheir behavior follows from the operations and parameters in the SDK.\n",
            *map(section, other),
            "## Resources that can't be synced\n\n| resource | reason |\n|---|---|",
            *(f"| `{name}` | {reason} |" for name, reason in sorted(refused.items())),
            "\n## API v2\n\nA `resource:` can't be an object that the SDK creates only through API v2.\n",
            "| API v2 | alternative, or reason |\n|---|---|",
            *(f"| `{name}` | {reason} |" for name, reason in sorted(REFUSED_V2.items())),
            "",
        ]
    )


def section(name) -> str:
    life = lifecycle_of(name)
    found = life.found_by if life.modes != {Mode.INSERT} else ()
    facts = {
        "`mode`": ", ".join(f"`{mode.value}`" for mode in Mode if mode in life.modes),
        "`match`": ", ".join(f"`{by}`" for by in found),
        "`on_removed`": ", ".join(
            f"`{removal.value}`{BY_HAND if removal in life.permanent else ''}" for removal in life.on_removed
        ),
        "Immutable parameters": replacement(name, life),
        "`options`": ", ".join(f"`{option}: true`" for option in life.options),
        "Notes": notes(name, life),
    }
    lines = (f"- **{fact}**: {said}\n" for fact, said in facts.items() if said)
    return f"### `{name}`\n\n{''.join(lines)}"


# A star that is not the begin of emphasis.
BY_HAND = "\\*"


def replacement(name, life) -> str:
    if not any(param.immutable and not param.in_path for param in CATALOG.resources[name].params.values()):
        return "none"
    change = life.when_immutable_changes
    if isinstance(change, NotReplaced):
        asked = life.replace_if_asked
        return f"rejected ({change.reason})" + (f"; with `replace: true`, {replaced(asked)}" if asked else "")
    return replaced(change)


def replaced(change) -> str:
    names = ", ".join(f"`{name}`" for name in change.exclusive)
    first = f", which ends first if {names} is mapped" if names else ""
    carried = ", ".join(f"`{name}: {str(value).lower()}`" for name, value in change.carry_over.items())
    created = f" by one created with {carried}" if carried else ""
    return f"replaced{created}, then `{change.then.value}` for the old object{first}"


def notes(name, life) -> str:
    parents = [param.name for param in CATALOG.resources[name].params.values() if param.in_path]
    said = [
        f"parent: {', '.join(f'`{parent}`' for parent in parents)}" if parents else None,
        "accepts an `id` of your own" if life.own_id else None,
        "no tag" if not life.tagged else None,
        *(fixed(rule) for rule in life.fixed),
        life.note,
        f"`{life.bulk.name}`: {life.bulk.note}" if life.bulk else None,
    ]
    return "; ".join(note for note in said if note)


def fixed(rule) -> str:
    what = "changes that Stripe accepts only for drafts are" if rule.names is not None else "every change is"
    but = f", except to {' and '.join(f'`{name}`' for name in sorted(rule.but))}" if rule.but else ""
    return f"{'while' if rule.reason.endswith('yet') else 'once'} {rule.reason}, {what} rejected{but}"


def test_the_page_of_resources_matches_the_program():
    assert PAGE.read_text(encoding="utf-8") == render_page(), "run `python tests/test_resources_table.py`"


@pytest.mark.parametrize("name", CATALOG.names())
def test_every_resource_is_on_the_page_once(name):
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(f"\n| `{name}` |") + page.count(f"\n### `{name}`\n") == 1


def test_everything_that_api_v2_can_create_is_on_the_page():
    services = (sdk_root() / "v2").rglob("_*_service.py")
    created = {
        ".".join(["v2", *path.relative_to(sdk_root() / "v2").parent.parts, path.stem[1:].removesuffix("_service")])
        for path in services
        if "    def create(" in path.read_text(encoding="utf-8")
    }
    assert {name for name in created if not name.startswith("v2.test_helpers")} == REFUSED_V2.keys()


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")


@pytest.mark.parametrize("name", [*sorted(REFUSED_V2), "v2.core.event_destinations", "v2.core.accounts"])
def test_resources_only_in_api_v2_have_a_reason_why_no_sync_writes_them(name, business):
    business.rows("things", ("t1", "x"), columns="id text, name text")
    business.sync("things", resource=name, key="id", fields={"name": "name"})

    ran = business.cli("parse")

    reason = REFUSED_V2.get(name) or REFUSED_V2[name.removesuffix("s")]
    assert ran.exit_code == 2
    assert f"error[refused-resource]: `{name}` can't be synced: {reason}" in ran.text
