"""Intervals, times and batches of any unit or zone get one form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.warehouse.canonical import (
    canonical_batch,
    canonical_schema,
    duration_text,
    interval_of_text,
    interval_text,
    zoned_time_text,
)


@pytest.mark.parametrize(
    ("months", "days", "microseconds", "text"),
    [
        (0, 0, 0, "PT0S"),
        (14, -3, 14_706_700_000, "P1Y2M-3DT4H5M6.7S"),
        (-14, 0, -14_706_700_000, "P-1Y-2MT-4H-5M-6.7S"),
        (0, 0, -500_000, "PT-0.5S"),
        (0, 1, 0, "P1D"),
    ],
)
def test_an_interval_is_iso_8601_as_in_postgres(months, days, microseconds, text):
    assert interval_text(months, days, microseconds) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("1-2 -3 4:5:6.7", "P1Y2M-3DT4H5M6.7S"),
        ("-0-1 0 -0:0:1", "P-1MT-1S"),
        ("INTERVAL '1-2' YEAR TO MONTH", "P1Y2M"),
        ("INTERVAL '-3 04:05:06.7' DAY TO SECOND", "P-3DT-4H-5M-6.7S"),
        ("INTERVAL '5' MONTH", "P5M"),
        ("INTERVAL '04:05' HOUR TO MINUTE", "PT4H5M"),
        ("INTERVAL '1.5' SECOND", "PT1.5S"),
        ("1-2", "P1Y2M"),
        ("-1-2", "P-1Y-2M"),
        ("0 01:30:00.000", "PT1H30M"),
        ("-3 04:05:06.700", "P-3DT-4H-5M-6.7S"),
        ("P1D", "P1D"),
        ("infinity", "infinity"),
    ],
)
def test_intervals_of_bigquery_spark_and_trino_become_iso_8601(written, text):
    assert interval_of_text(written) == text


@given(st.timedeltas(timedelta(-9999), timedelta(9999)))
def test_a_negative_duration_keeps_its_sign(value):
    assert ("-" in duration_text(value)) == (value < timedelta(0))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("12:00:00+02", "10:00:00+00:00"),
        ("01:00:00.5+05:30", "19:30:00.500000+00:00"),
        ("23:00:00-02:00", "01:00:00+00:00"),
        ("noon", "noon"),
    ],
)
def test_a_time_of_day_with_a_zone_is_the_same_time_in_utc(written, text):
    assert zoned_time_text(written) == text


def test_units_and_time_zones_of_a_batch_are_normalized():
    moment = datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    batch = pa.record_batch(
        {
            "nano": pa.array([moment], pa.timestamp("ns", tz="Asia/Tokyo")),
            "micro": pa.array([moment], pa.timestamp("us", tz="America/New_York")),
            "seconds": pa.array([moment.replace(tzinfo=None)], pa.timestamp("s")),
            "nested": pa.array([[{"at": moment}]], pa.list_(pa.struct([("at", pa.timestamp("ms", tz="Asia/Tokyo"))]))),
            "spans": pa.array([[timedelta(days=1)]], pa.list_(pa.duration("us"))),
            "span": pa.array([pa.MonthDayNano([14, 3, 1_000])], pa.month_day_nano_interval()),
            "word": pa.array(["a"]).dictionary_encode(),
        }
    )

    made = canonical_batch(batch, canonical_schema(batch.schema))

    utc = pa.timestamp("us", tz="UTC")
    assert made.schema.field("nano").type == made.schema.field("micro").type == utc
    assert made.schema.field("seconds").type == pa.timestamp("us")
    assert made.schema.field("nested").type.value_type.field("at").type == utc
    assert made.to_pylist() == [
        {
            "nano": moment,
            "micro": moment,
            "seconds": moment.replace(tzinfo=None),
            "nested": [{"at": moment}],
            "spans": ["P1D"],
            "span": "P1Y2M3DT0.000001S",
            "word": "a",
        }
    ]
