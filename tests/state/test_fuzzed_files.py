"""An altered plan or export is rejected or does no harm: no traceback, no silent success."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import Any

import orjson
import pyarrow as pa
import pytest
from examples import up_to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from state_values import change_of, intent_of, outcome_of, record_of, report_of

from dbt_stripe_sync.engine.plan.plan_file import PROOF, PlanWriter, take_plan
from dbt_stripe_sync.model.change import Owed
from dbt_stripe_sync.model.errors import Location, PlanError, Problem, StateError

CALM = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
) | st.just([[[[]]]] * 3)


# ── plans ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def plan(tmp_path, clock):
    """A plan of two changes, with all that its last line can hold, signed by nobody."""
    report = report_of(clock)
    writer = PlanWriter(tmp_path / "plan.jsonl", report.header, sign=lambda digest: f"of {digest}")
    for key in "12":
        writer.add(change_of(key))
    writer.end_sync("customers", keep=True)
    writer.note(record_of("3"))
    owed = Owed(
        id="customers/9!cus_9", sync="customers", key="9", resource="customer", action=change_of().action,
        operation="delete", target="cus_9", params={"a": {"b": ["c"]}}, reason="replaced",
    )  # fmt: skip
    problem = Problem(code="x", summary="y", where=Location(sync="customers"), hint="z")
    writer.finish(report.counts, [problem], state_serial=4, owed=[owed])
    return tmp_path / "plan.jsonl"


def taken_to(folder):
    """Where a plan is copied to: not over the plan itself."""
    (folder / "taken").mkdir(exist_ok=True)
    return folder / "taken"


def places_in(value, path=()):
    """The way to each part of a value."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from places_in(part, (*path, name))


def put(value, path, new):
    """A value with another one at that place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = put(copy[path[0]], path[1:], new)
    return copy


@settings(max_examples=up_to(100), deadline=None, suppress_health_check=CALM)
@given(data=st.data())
def test_an_altered_plan_is_rejected_or_has_lost_its_signature(plan, tmp_path, data):
    lines = [orjson.loads(line) for line in plan.read_bytes().splitlines()]
    at = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.sampled_from(list(places_in(lines[at]))))
    lines[at] = put(lines[at], place, data.draw(ANYTHING))
    written = [orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines]
    if isinstance(lines[-1], dict) and data.draw(st.booleans()):
        # Whoever knows the format can make the digest, and no signature.
        end = {name: value for name, value in lines[-1].items() if name not in PROOF}
        whole = b"".join(written[:-1]) + orjson.dumps(end, option=orjson.OPT_SORT_KEYS)
        written[-1] = orjson.dumps(lines[-1] | {"sha256": hashlib.sha256(whole).hexdigest()})
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(b"".join(written))

    try:
        taken = take_plan(changed, taken_to(tmp_path))
    except PlanError:
        return
    was, now = ([orjson.loads(line) for line in path.read_bytes().splitlines()] for path in (plan, changed))
    is_as_it_was = was == now
    assert is_as_it_was or taken.signature != f"of {taken.digest}"


@settings(max_examples=50, deadline=None, suppress_health_check=CALM)
@given(data=st.data())
def test_a_plan_with_a_changed_byte_is_rejected(plan, tmp_path, data):
    content = bytearray(plan.read_bytes())
    at = data.draw(st.integers(0, len(content) - 2))
    was, content[at] = content[at], data.draw(st.integers(0, 255))
    (tmp_path / "changed.jsonl").write_bytes(content)
    if content[at] == was:
        return
    try:
        taken = take_plan(tmp_path / "changed.jsonl", taken_to(tmp_path))
    except PlanError:
        return
    assert taken.signature != f"of {taken.digest}"


# ── exports ──────────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = ["", "x", "{}", "[]", "null", "[1]", '{"a": 1}', "99999", "[" * 200]
CELL = st.none() | st.sampled_from(TEXTS)


@pytest.fixture
def exported(opened, path, clock, tmp_path):
    """An export with a row in each of its tables, and its columns."""
    with opened() as state:
        state.start_run("run-1", command="run", target="dev")
        state.put_records([record_of("1")], "run-1")
        state.add_former_ids([("customers", "1", "cus_0")])
        state.commit([intent_of(change_of("2"))], [outcome_of(change_of("3"))])
        state.finish_run(report_of(clock))
        state.export(tmp_path / "export")
    path.unlink()
    tables = {file.stem: parquet.read_table(file) for file in sorted((tmp_path / "export").iterdir())}
    return {(name, column): table for name, table in tables.items() for column in table.column_names}


def read_all(state):
    """What a run and the commands read of a state."""
    for intent in state.open_intents():
        assert intent.change.key
    for record in state.list_records("customers"):
        assert record.stripe_id
    for run in state.runs():
        report = state.report(run.id)
        for outcome in report.outcomes if report is not None else ():
            assert outcome.change.sync
    assert [step.id for step in state.owed()] == []
    assert state.last_rejected() is not None
    assert state.serial >= 0


@pytest.mark.slow
def test_an_export_with_a_changed_cell_is_rejected_or_readable(exported, opened, path, tmp_path):
    """One state for all examples: only an import that is taken over needs a new one."""
    folder = tmp_path / "export"
    with ExitStack() as states:
        fresh = [states.enter_context(opened(identity=None))]

        @settings(max_examples=15, deadline=None, suppress_health_check=CALM)
        @given(place=st.sampled_from(list(exported)), cell=CELL)
        def check(place, cell):
            name, column = place
            table = exported[place]
            cells = pa.array([cell] * len(table), pa.string())
            changed = table.set_column(table.column_names.index(column), column, cells)
            parquet.write_table(changed, folder / f"{name}.parquet")
            try:
                fresh[-1].import_(folder)
            except StateError:
                return
            finally:
                parquet.write_table(table, folder / f"{name}.parquet")
            try:
                read_all(fresh[-1])
            finally:
                states.close()
                path.unlink()
                fresh.append(states.enter_context(opened(identity=None)))

        check()
