"""Selectors on five projects, and what a real dbt lists for each of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_projects import sync_of

from dbt_stripe_sync.dbt.listing import DbtLs
from dbt_stripe_sync.dbt.manifest import read_manifest
from dbt_stripe_sync.dbt.project import Chosen, read_project
from dbt_stripe_sync.dbt.selection import Selection, select_syncs
from dbt_stripe_sync.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROJECTS = Path(__file__).parent / "projects"
REFUSED = "dbt refuses it"
READ = {"model", "seed", "snapshot"}

# Meant for every project: words of each of them are put in by name.
EVERYWHERE = """
*
fqn:*
resource_type:model
resource_type:seed
resource_type:snapshot
resource_type:test
resource_type:test+
+resource_type:test
1+resource_type:test
@resource_type:seed
resource_type:seed+
resource_type:snapshot+
+resource_type:exposure
+exposure:*
1+exposure:*
+test_type:generic
+test_type:singular
+test_type:data
+test_type:unit
+test_name:unique
1+test_name:not_null
+test_name:rel*
@test_name:unique
source:*
source:*+
package:this
this
models
./models
models/
path:models
models/*
models/**
models/**/*.sql
**/schema.yml
models/*.yml
path:seeds
nosuch
path:nosuch
tag:nosuch
tag:*
+tag:*
config.materialized:table
config.materialized:view
config.materialized:table+
+config.materialized:incremental
config.materialized:snapshot
config.enabled:true
config.enabled:false
config.severity:warn
+config.severity:WARN
config.contract.enforced:true
config.nosuch:x
config.meta.stripe_sync.resource:customer
+config.meta.stripe_sync.resource:customer
config.meta.stripe_sync.key:id+
config.tags:nosuch
config.full_refresh:false
config.on_schema_change:ignore
access:protected
access:public
access:private
version:none
version:latest
version:old
version:prerelease
version:latest+
group:*
metric:*
+metric:*
semantic_model:*
+saved_query:*
unit_test:*
+unit_test:*
*.sql
*.csv
file:*.csv
file:*.yml
+file:*.yml
file:*
*,resource_type:model
resource_type:model,config.materialized:table
resource_type:model,nosuch
tag:nosuch resource_type:seed
* --exclude resource_type:seed
* --exclude resource_type:seed+
* --exclude +exposure:*
* --exclude nosuch
resource_type:model --exclude config.materialized:table
* --exclude @resource_type:seed
* --exclude +test_type:generic
* --exclude source:*+
+* --exclude 1+test_name:unique
resource_type:widget
sourcy:x
test_type:odd
@fqn:*+
"""
TABLE: Mapping[str, str] = {
    "bakery": """
orders
orders+
+orders
1+orders
2+orders
0+orders
orders+1
orders+2
+orders+
1+orders+1
@orders
@stg_breads
@raw_breads
@source:till
++orders
orders++
bakery
bakery.*
bakery.marts
bakery.marts.finance
marts
marts.finance
finance
marts.finance.revenue
finance.revenue
*.finance.*
bakery.marts.finance.*
stg_*
+stg_*
stg_*+
st?_people
[rs]*
stg_[pr]*
fqn:revenue
fqn:bakery.staging
fqn:till
fqn:staging.till
models/staging
models/staging/till
models/staging/*.sql
models/staging/staging.yml
path:models/staging/sources.yml
path:models/staging/sources.yml+
models/marts/**/re*.sql
models/*/finance
models/marts/finance/revenue.sql+
path:seeds/raw_shops.csv+
path:seeds/seeds.yml
path:tests
+path:tests
+tests/no_free_bread.sql
+analyses
path:models/mart
models/marts/../staging
revenue.sql
+revenue.sql
raw_breads.csv+
file:orders
file:marts.yml
+file:marts.yml
file:stg_*.sql
tag:staging
tag:finance
tag:finance+
+tag:finance
tag:pii
tag:pii+
+tag:pii
@tag:pii
1+tag:pii
tag:late+
tag:late+1
tag:slow
+tag:slow
1+tag:slow
@tag:slow
tag:board
+tag:board
tag:raw
tag:raw+
tag:places
tag:places+
tag:kpi
+tag:kpi
tag:f*
tag:weekly,tag:finance
tag:weekly,tag:staging
tag:pii+,tag:finance
tag:pii+ tag:raw
source:till
source:till+
source:till+1
source:till.receipts+
source:bakery.till.receipts+
source:bakery.*.refunds+
source:t*+
source:crm+
source:a.b.c.d
source:crm+,source:till+
exposure:owner_board
+exposure:owner_board
+exposure:bakery.owner_board
+exposure:till_report
2+exposure:till_report
+exposure:a.b.c
+owner_board
owner_board+
+till_report,tag:staging
metric:turnover
+metric:turnover
+metric:double_turnover
1+metric:double_turnover
+semantic_model:sales
+saved_query:weekly_turnover
+weekly_turnover
+turnover
sales+
+unit_test:prices_add_up
+prices_add_up
+no_free_bread
1+no_free_bread
no_free_bread+
+unique_orders_id
1+unique_orders_id
@unique_orders_id
+not_null_stg_people_id
1+test_name:relationships
test_name:relationships+
config.materialized:incremental+
config.unique_key:id
config.tags:daily
config.meta.owner:money
config.meta.owner:crm
config.meta.level:3
config.meta.live:true
config.meta.live:TRUE
config.meta.live:false
config.meta.keys:x
config.severity:error
+config.severity:warn
config.on_schema_change:ignore,tag:weekly
orders,tag:finance
+orders,tag:staging
+orders,+customers
+orders,nosuch
orders,
,orders
orders customers
orders  customers
orders customers --exclude customers
+revenue --exclude tag:raw
+revenue --exclude source:till+
* --exclude tag:pii
* --exclude tag:pii+
* --exclude +exposure:owner_board
* --exclude tag:slow
* --exclude 1+tag:slow
* --exclude +metric:turnover
tag:finance --exclude revenue+
tag:finance --exclude +unit_test:prices_add_up
""",
    "guild": """
members
members+
+members
members.v1
members.v1+
+members.v2
members_v2
members_v3
members.v4
guild.members
guild.members.v2
guild.members_v2
members*
mem?ers
*.v1
v1
tools
tools.*
tools.calendar
calendar
calendar.months
tools.calendar.months
months
months+
@months
tools.months
package:tools
package:tools+
package:guild
package:t*
package:this,tag:people
rates
rates+
+north
regions
regions.north
regions.north.coast
north
north+
north.coast
models/regions
models/regions/north
models/regions/north.sql
models/calendar
models/calendar/months.sql
models/tools.yml
tools/models/calendar
path:models/schema.yml
members_v1.sql
file:members_v2
+file:schema.yml
tag:vendored
tag:vendored+
tag:shared
tag:shared+
tag:people
tag:people+
tag:money
+tag:money
group:office
group:office+
+group:office
group:off*
group:none
access:private
access:private+
access:public,package:tools
access:protected,group:office
access:secret
version:latest
version:old
version:old+
version:prerelease
version:none
version:1
+version:latest
members,version:latest
members,version:old
+exposure:fee_letter
1+exposure:fee_letter
+fee_letter
exposure:tools.*
+exposure:guild.fee_letter
+test_name:relationships
1+test_name:relationships
+test_name:unique,package:tools
config.group:office
config.access:private
config.contract.enforced:true
config.contract.enforced:false
config.meta.tier:gold
config.meta.stripe_sync.name:rates_sync
config.schema:tools
config.tags:vendored
fees --exclude members
+fees --exclude package:tools
* --exclude package:tools
* --exclude package:tools+
* --exclude group:office
* --exclude access:private+
* --exclude version:old
* --exclude members.v1+
* --exclude +exposure:fee_letter
* --exclude tag:shared+
""",
    "museum": """
visitor_history
visitor_history+
+visitor_history
@visitor_history
piece_history
guide_history
+guide_history
guide_history+
*_history
tag:history
tag:history+
+tag:history
resource_type:snapshot,tag:history
snapshots
path:snapshots
path:snapshots/visits.yml
snapshots/old_style.sql
old_style
old_style.sql
file:visits
museum.old_style
museum.old_style.guide_history
museum.visits
seeds
seeds/exhibits
seeds/exhibits/pieces.csv
exhibits
museum.exhibits.pieces
visitors
visitors+
visitors+1
@visitors
archive
archive.old
archive.old.2019
archive.old.*
*.2019.*
models/archive
models/archive/old/2019
models/archive/*/2019
models/**/2019
models/**/2020/*
closed_rooms*
closed_rooms+
+all_closed
closed
closed_rooms_2020
+rooms_are_closed
1+rooms_are_closed
config.alias:closed
config.materialized:ephemeral
config.materialized:ephemeral+
config.schema:archive
config.schema:lab+
lab
lab.*
samples
samples.py
samples+
+samples
models/lab/*.py
file:*.py
tag:python
tag:lab*
tag:People
tag:people
tag:a.b
guides
guides+
+guides
@guides
switched_off
config.enabled:false
config.docs.show:false
config.docs.show:true
config.meta.contact.team:desk
config.meta.contact.on_call:false
config.meta.contact.on_call:False
config.meta.contact:desk
config.hard_deletes:new_record
config.strategy:check
config.unique_key:id
config.on_schema_change:fail
config.full_refresh:false
config.severity:warn
+config.severity:warn
1+test_name:not_null
+test_name:unique
never
+never
2+never
3+never
never+
* --exclude tag:history
* --exclude tag:history+
* --exclude resource_type:snapshot+
* --exclude config.materialized:ephemeral+
* --exclude +rooms_are_closed
+never --exclude archive
""",
    "harbour": """
berths
berths+
+berths
Berth*
harbour.berths
harbour.berths.berths
berths.depot
berths.depot.crates
crates
crates.old
crates.old+
harbour.berths.depot.crates.old
crates.*
tariff
tariff+
tariff.v1
tariff.v2
tariff_v1
tariff_v2
tariff_next
tariff_next.sql
version:prerelease
version:latest
tag:draft
group:pilots
group:customs
group:cus*
access:private
access:public
+papers
papers+
duties
config.materialized:pinned
config.materialized:pinned+
config.database:depot
config.schema:store
config.alias:Berth*
config.docs.show:false
config.docs.node_color:red
config.meta.crew:deck
config.meta.crew:harbourmaster
config.meta.shifts:night
config.meta.rank:3
config.meta.kept:7*
config.meta.stripe_sync.resource:product
config.meta.stripe_sync.name:tide_products
config.meta.stripe_sync.fields.name:height
config.unique_key:day
config.incremental_strategy:microbatch
config.event_time:day
config.contract.enforced:true
config.hard_deletes:new_record
config.hard_deletes:invalidate
config.snapshot_meta_column_names.dbt_valid_to:until
config.quote_columns:true
config.group:customs
config.tags:borrowed
package:tide
package:t*
tide
tide.tables
tide.tables.heights+
phases
moon
tide/models
dbt_packages/tide/models
path:tide/models
tag:borrowed
tag:water
tag:air+
tag:voice+
tag:pii
tag:pii+
+tag:pii
1+tag:pii
tag:pk
1+tag:pk
tag:loud
+tag:loud
1+tag:quick
tag:static
tag:Static
tag:Python
moorings.py
source:radio+
source:radio.calls+1
source:harbour.radio.*
source:radio.fax+
+exposure:dock_board
+exposure:old_board
1+unit_test:arrivals_are_calls
1+test_name:ports_have_ids
+ports_have_ids
ports_have_ids
path:data
path:data/small/
data/*.csv
data/ports.yaml
models/a_first.yml
models/berths/_berths.yml
models/**/_*.yml
snapshots/logbook.yml
* --exclude tag:pii+
* --exclude source:radio+
* --exclude +exposure:dock_board
* --exclude package:tide
* --exclude 1+unit_test:*
* --exclude group:*
* --exclude config.meta.crew:deck
resource_type:model,tag:berths --exclude config.materialized:incremental
""",
    "orchard": """
everywhere
tag:everywhere
tag:sweet
tag:sweet,config.materialized:table
fruit
fruit.dried
orchard.fruit.dried.*
apples
apples+
@apples
@trees
trees+
apples+1
cider
cider+
cider.v9
cider.v10
cider.vdry
cider_vdry
cider_v9
cider.*
version:latest
version:old
version:prerelease
version:latest+
version:old+
barrels
2+barrels
more/models
more/models/barrels.sql
path:more
models/press
models/fruit/fruit.yml
models/days.yaml
press.yml
file:press.yml
file:cider*
source:wood+
source:wood.oak+
source:wood.chips+
source:wood*+
source:*.elm+
function:*
function:double_it
resource_type:function
resource_type:function+
function:double_it+
tag:maths+
test_type:singular
1+test_type:singular
tag:checked
1+tag:checked
tag:slow
1+tag:slow
+tag:slow
tag:ident
1+tag:ident
tag:rings
+tag:seen
+exposure:cider_list
exposure:cider_list+
+metric:pressings
+metric:pressings_so_far
+saved_query:daily_pressings
semantic_model:pressings+
+semantic_model:pressings
tag:kpi
+tag:kpi
group:cellar
+group:cellar
access:private+
config.meta.owner:ann
+config.meta.owner:ann
config.meta.owner:bob
config.meta.limits.max:10
config.meta.soil.ph:6.5
config.meta.soil.ph:7
config.meta.soil.kind:loam
config.meta.by:cooper
+config.meta.by:cooper
config.full_refresh:false
config.grants.select:me
config.persist_docs.relation:false
config.severity:warn
1+config.severity:WARN
config.store_failures:false
config.invalidate_hard_deletes:true
days
1+unit_test:only_boskoop
seeds/nested
rows.csv
* --exclude tag:slow
* --exclude 1+tag:slow
* --exclude function:double_it+
* --exclude +saved_query:*
* --exclude +metric:pressings
* --exclude source:wood.chips+
tag:everywhere --exclude version:old version:prerelease
""",
}


def selectors_of(project: str) -> list[str]:
    """Each once, in the order of the table."""
    lines = (EVERYWHERE + TABLE[project]).splitlines()
    return list(dict.fromkeys(line for line in lines if line.strip()))


def parts_of(line: str) -> tuple[list[str], list[str]]:
    """What is selected, and what is excluded."""
    select, _, exclude = line.partition(" --exclude ")
    return select.split(), exclude.split()


def parsed_project(name: str, dbt: Path, folder: Path) -> Path:
    """One of the five, parsed by a dbt; returns its folder."""
    root = Path(shutil.copytree(PROJECTS / name, folder / name))
    environment = {**os.environ, "DBT_STRIPE_SYNC_PLUGIN": "0"}
    steps = [["deps"], ["parse"]] if (root / "packages.yml").exists() else [["parse"]]
    for step in steps:
        subprocess.run(
            [str(dbt), *step, "--profiles-dir", str(root)], cwd=root, env=environment, check=True, capture_output=True
        )
    return root


# In a process of its own, since dbt leaves much behind; with one manifest for all, since parsing takes seconds.
_LIST_WITH_DBT_1 = """
import contextlib, json, os, sys
from dbt.cli.main import dbtRunner
asked = json.load(sys.stdin)
with contextlib.redirect_stdout(sys.stderr):
    manifest = dbtRunner().invoke(["--quiet", "parse"]).result
    listed = []
    for select, exclude in asked:
        arguments = ["--quiet", "ls", "--output", "json", "--output-keys", "unique_id", "--select", *select]
        done = dbtRunner(manifest=manifest).invoke(arguments + (["--exclude", *exclude] if exclude else []))
        listed.append([json.loads(line)["unique_id"] for line in done.result] if done.success else None)
json.dump(listed, sys.stdout)
"""


def listed_by_dbt_1(dbt: Path, root: Path, lines: list[str]) -> dict[str, set[str] | str]:
    """What dbt 1.x lists."""
    done = subprocess.run(
        [str(dbt.parent / "python"), "-c", _LIST_WITH_DBT_1],
        input=json.dumps([parts_of(line) for line in lines]),
        cwd=root,
        env={**os.environ, "DBT_STRIPE_SYNC_PLUGIN": "0", "DBT_PROFILES_DIR": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout)
    return {line: _readable(answer) for line, answer in zip(lines, answers, strict=True)}


def listed_by_dbt_2(dbt: Path, root: Path, lines: list[str]) -> dict[str, set[str] | str]:
    """What dbt 2 lists."""
    listed: dict[str, set[str] | str] = {}
    for line in lines:
        select, exclude = parts_of(line)
        command = [str(dbt), "ls", "--quiet", "--profiles-dir", str(root), "--no-write-json"]
        command += ["--output", "json", "--output-keys", "unique_id", "--select", *select]
        done = subprocess.run(
            [*command, *(["--exclude", *exclude] if exclude else [])], cwd=root, capture_output=True, text=True
        )
        lines_of_json = (text for text in done.stdout.splitlines() if text.startswith("{"))
        ids = [json.loads(text)["unique_id"] for text in lines_of_json]
        listed[line] = _readable(ids if done.returncode == 0 else None)
    return listed


def _readable(answer: Iterable[str] | None) -> set[str] | str:
    return REFUSED if answer is None else {unique_id for unique_id in answer if unique_id.split(".")[0] in READ}


def selected_by_us(root: Path, lines: list[str]) -> dict[str, set[str] | str]:
    """What our own selectors select, of a project where every model has a sync."""
    manifest = read_manifest(root / "target" / "manifest.json")
    project = read_project(root, Chosen(profiles_dir=root))
    ask_dbt = DbtLs(project=project, chosen=Chosen(profiles_dir=root), manifest=manifest)
    syncs = [sync_of(f"-{number}-", node) for number, node in enumerate(manifest.nodes.values())]
    return {line: _select(line, syncs, manifest, root, ask_dbt) for line in lines}


def _select(line, syncs, manifest, root, ask_dbt) -> set[str] | str:
    select, exclude = parts_of(line)
    asked = Selection(select=select, exclude=exclude, allow_empty=True)
    try:
        selected = select_syncs(syncs, manifest, root, asked, ask_dbt)
    except ConfigError as error:
        if [problem.code for problem in error.problems] != ["bad-selector"]:
            raise
        return REFUSED
    return {sync.model.unique_id for sync in selected.syncs}
