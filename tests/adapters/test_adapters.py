"""Warehouses behind dbt's adapters, each with its own dbt, a real server and the whole program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from business import ROOT
from spark_cluster import SPARK_SECONDS, free_port, listens, running_spark, wait_until

pytestmark = pytest.mark.adapters

EVERYWHERE = {
    "name": "Zoë",
    "metadata.amount": "29.50",
    "metadata.day": "2027-03-28",
    "metadata.ratio": "0.1",
    "metadata.small": "0.1",
    "metadata.since": "2027-03-28T01:30:00.250000+00:00",
}
DOUBLED = {"template": "[[ amount * 2 ]] [[ since ]]"}
MODELS = {
    "mariadb": "select id, amount, name, day, ratio, small, since from shop.raw",
    "clickhouse": (
        "select 1 as id, toDecimal64('29.50', 2) as amount, 'Zoë' as name, toDate('2027-03-28') as day, "
        "toFloat64(0.1) as ratio, toFloat32(0.1) as small, "
        "toDateTime64('2027-03-27 21:30:00.25', 6, 'America/New_York') as since"
    ),
    "spark": (
        "select 1 as id, cast('29.50' as decimal(12, 2)) as amount, 'Zoë' as name, date '2027-03-28' as day, "
        "cast('0.1' as double) as ratio, cast('0.1' as float) as small, "
        "timestamp '2027-03-27 21:30:00.25 America/New_York' as since"
    ),
    "trino": (
        "select 1 as id, cast(29.50 as decimal(12, 2)) as amount, 'Zoë' as name, date '2027-03-28' as day, "
        "double '0.1' as ratio, real '0.1' as small, timestamp '2027-03-27 21:30:00.25 America/New_York' as since"
    ),
}
# More than a driver gives at once.
MANY = {
    "mariadb": "select seq as id from shop.seq_1_to_25000",
    "clickhouse": "select number as id from numbers(25000)",
    "spark": "select id from range(25000)",
    "trino": "select a * 1000 + b as id from unnest(sequence(0, 24)) x(a), unnest(sequence(0, 999)) y(b)",
}
COUNT_ROWS = """
from pathlib import Path
from dbt_stripe_sync.wiring import opened_warehouse
from dbt_stripe_sync.workload import ProjectOptions, load_workload
workload = load_workload(ProjectOptions(project_dir=Path("."), profiles_dir=Path(".")))
model = next(sync.model for sync in workload.syncs if sync.name == "many")
with opened_warehouse(workload.dbt) as warehouse:
    print(warehouse.rows(model.source(("id",))).read_all().num_rows)
"""
# What only this kind has, and how every other reader writes it.
TRINO_TYPES = (
    "select 1 as id, interval '90' minute as span, interval -'14' month as months, time '12:34:56.5 +02:00' as zoned, "
    "timestamp '2027-03-27 21:30:00.123456789' as wall, timestamp '2027-03-27 21:30:00.1234567 -03:00' as fine, "
    "decimal '12345678901234567890123456789012345678' as wide, double '-0' as zero, cast('ab' as char(4)) as padded, "
    "cast(row(1, 'x') as row(a int, b varchar)) as parts, array[1, 2] as list"
)
TRINO_TEXTS = {
    "span": "PT1H30M",
    "months": "P-1Y-2M",
    "zoned": "10:34:56.500000+00:00",
    "wall": "2027-03-27T21:30:00.123456",
    "fine": "2027-03-28T00:30:00.123456+00:00",
    "wide": "12345678901234567890123456789012345678",
    "zero": "0",
    "parts": '{"a":1,"b":"x"}',
    "list": "[1,2]",
}
RAW = (
    "create database shop; create user 'dbt'@'127.0.0.1' identified by 'hush'; "
    "grant all on shop.* to 'dbt'@'127.0.0.1'; "
    "set time_zone = '+00:00'; create table shop.raw (id int, amount decimal(12, 2), name varchar(20), day date, "
    "ratio double, small float, since timestamp(6)) character set utf8mb4; insert into shop.raw values "
    "(1, 29.50, 'Zoë', '2027-03-28', 0.1, 0.1, '2027-03-28 01:30:00.25')"
)


def tagged(name, fields):
    sync = {"resource": "customer", "key": "id", "fields": fields}
    return {"name": name, "config": {"meta": {"stripe_sync": sync}}}


@pytest.fixture
def mariadb(tmp_path):
    if shutil.which("mariadbd") is None:
        pytest.skip("MariaDB is not installed")
    data, sock, port = tmp_path / "data", tmp_path / "s", free_port()
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, capture_output=True)
    options = [f"--datadir={data}", f"--socket={sock}", f"--port={port}", "--bind-address=127.0.0.1", "--user=root"]
    server = subprocess.Popen(
        ["mariadbd", "--no-defaults", *options, "--default-time-zone=-05:00"], stderr=subprocess.DEVNULL
    )
    try:
        client = ["mariadb", "--no-defaults", "--default-character-set=utf8mb4", "-S", str(sock), "-u", "root"]
        wait_until(lambda: subprocess.run([*client, "-e", "select 1"], capture_output=True).returncode == 0)
        subprocess.run([*client, "-e", RAW], check=True)
        yield {"type": "mariadb", "server": "127.0.0.1", "port": port, "username": "dbt", "password": "hush"} | {
            "charset": "utf8mb4",
            "collation": "utf8mb4_general_ci",
        }
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def clickhouse(tmp_path, environment_of):
    port = free_port()
    program = Path(__file__).with_name("clickhouse_server.py")
    server = subprocess.Popen([environment_of("clickhouse") / "python", program, str(port), str(tmp_path / "data")])
    try:
        wait_until(lambda: listens(port))
        yield {"type": "clickhouse", "host": "127.0.0.1", "port": port, "user": "default", "password": ""}
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def spark(tmp_path, environment_of):
    """A cluster of its own, to which each program connects as a driver."""
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    folder = tmp_path / "cluster"
    folder.mkdir()
    with running_spark(environment_of("spark"), folder, workers=1) as target:
        yield target


@pytest.fixture
def trino(tmp_path, environment_of):
    jars = environment_of("trino").parent / "jars"
    if shutil.which("java") is None or not jars.is_dir():
        pytest.skip("Java or Trino's jars are not here")
    port = free_port()
    program = ["java", "-Xmx1g", "-Duser.timezone=America/New_York", "-cp", f"{jars}/*"]
    source = Path(__file__).parent / "trino" / "TrinoServer.java"
    ready = tmp_path / "ready"
    command = [*program, source, str(port), ready]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(ready.exists, seconds=SPARK_SECONDS)
        yield {"type": "trino", "method": "none", "host": "127.0.0.1", "port": port, "user": "me", "database": "memory"}
    finally:
        server.terminate()
        server.wait()


@pytest.mark.timeout(2 * SPARK_SECONDS)
@pytest.mark.parametrize("kind", ["mariadb", "clickhouse", "spark", "trino"])
def test_values_become_the_same_parameters_as_from_any_other_warehouse(kind, request, environment_of, tmp_path):
    programs = environment_of(kind)
    root = tmp_path / "shop"
    (root / "models").mkdir(parents=True)
    target = request.getfixturevalue(kind) | {"schema": "shop", "threads": 1}
    (root / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": {"dev": target}}}))
    project = {"name": "shop", "version": "1.0", "profile": "shop", "models": {"+materialized": "table"}}
    if kind == "mariadb":
        project["models"] = {"+materialized": "view"}
    (root / "dbt_project.yml").write_text(json.dumps(project | {"config-version": 2}))
    (root / "models" / "c.sql").write_text(MODELS[kind], encoding="utf-8")
    fields = {path: path.rsplit(".", 1)[-1] for path in EVERYWHERE} | {"description": DOUBLED}
    meta = {"stripe_sync": {"resource": "customer", "key": "id", "fields": fields}}
    models = [{"name": "c", "config": {"meta": meta}}, tagged("many", {"name": "id"})]
    (root / "models" / "many.sql").write_text(MANY[kind])
    if kind == "trino":
        (root / "models" / "types.sql").write_text(TRINO_TYPES)
        models.append(tagged("types", {f"metadata.{name}": name for name in TRINO_TEXTS}))
    (root / "models" / "c.yml").write_text(json.dumps({"models": models}))
    environment = {**os.environ, "TZ": "Asia/Tokyo"}

    def run(*command):
        ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    run(programs / "dbt", "build", "--profiles-dir", ".")
    shown = run(programs / "dbt-stripe-sync", "show", "c")

    for path, value in EVERYWHERE.items():
        assert f"{path.rsplit('.', 1)[-1]}: {value}" in shown
    assert "description: 59.00 2027-03-28 01:30:00.250000+00:00" in shown
    assert run(programs / "python", "-c", COUNT_ROWS).strip() == "25000"
    if kind == "trino":
        types = run(programs / "dbt-stripe-sync", "show", "types")
        assert {name: f"{name}: {text}" in types for name, text in TRINO_TEXTS.items()} == dict.fromkeys(
            TRINO_TEXTS, True
        ), types


def test_every_form_of_a_ducklake_profile_is_read_and_never_written_to(environment_of, tmp_path):
    python = environment_of("ducklake") / "python"
    program = Path(__file__).with_name("ducklake.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    ran = subprocess.run([python, program, tmp_path], env=environment, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {form: [[1, "Ann"]] for form in ("path", "attach", "options")}
