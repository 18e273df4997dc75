"""Hashes, lists and maps in parameters: from dotted fields, JSON, structs, arrays, maps and child rows, exactly."""

from __future__ import annotations

from typing import Any

import pytest
from business import by_hand

PRICE = {
    "product_data.name": {"value": "Desk"},
    "currency": {"value": "usd"},
}


def run(business, *arguments):
    ran = business.cli(*arguments)
    assert ran.exit_code == 0, ran.out + ran.err
    return ran


def sent(business, path):
    """The parameters of the last call that changed something there."""
    return [line.params for line in business.stripe.writes() if line.path.startswith(path)][-1]


def as_form(value):
    """Parameters as a form carries them: numbers are texts there."""
    if isinstance(value, dict):
        return {name: as_form(part) for name, part in value.items()}
    return [as_form(part) for part in value] if isinstance(value, list) else str(value)


def untagged(params):
    metadata = {name: value for name, value in params.get("metadata", {}).items() if name != "dbt_stripe_sync"}
    rest = {name: value for name, value in params.items() if name != "metadata"}
    return {**rest, "metadata": metadata} if metadata else rest


def synced(business, select, *, resource="customer", fields, path="/v1/customers", **meta):
    """Sync the rows of a query; the parameters of the last call."""
    business.table("things", select)
    business.sync("things", resource=resource, key="id", fields=fields, **meta)
    business.stripe.reset_requests()
    run(business)
    return untagged(sent(business, path)) if business.stripe.writes() else None


# ── where a nested value comes from ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "source",
    [
        "{'city': 'Bern', 'country': 'CH', 'line2': NULL}",
        '\'{"city": "Bern", "country": "CH", "line2": null}\'::json',
        '\'{"country": "CH", "city": "Bern"}\'',
        "MAP {'city': 'Bern', 'country': 'CH', 'line2': NULL}",
    ],
)
def test_a_hash_can_come_from_a_struct_a_json_column_a_text_or_a_map(business, source):
    params = synced(business, f"SELECT 1 AS id, {source} AS address", fields={"address": "address"})

    assert params == {"address": {"city": "Bern", "country": "CH"}}


def test_a_hash_can_come_from_dotted_or_nested_names(business):
    select = "SELECT 1 AS id, 'Bern' AS city, 'CH' AS country, 'Ann' AS name"
    fields: dict[str, Any] = {"shipping": {"name": "name", "address": {"city": "city", "country": "country"}}}
    nested = synced(business, select, fields=fields)
    fields = {"shipping.name": "name", "shipping.address.city": "city", "shipping.address.country": "country"}
    again = synced(business, select, fields=fields)

    assert nested == {"shipping": {"name": "Ann", "address": {"city": "Bern", "country": "CH"}}}
    assert again is None


@pytest.mark.parametrize("source", ["['de', 'fr', NULL]", '\'["de", "fr"]\'::json', '\'["de", null, "fr"]\''])
def test_a_list_can_come_from_an_array_or_json(business, source):
    params = synced(business, f"SELECT 1 AS id, {source} AS languages", fields={"preferred_locales": "languages"})

    assert params == {"preferred_locales": ["de", "fr"]}


@pytest.mark.parametrize(
    "source",
    [
        "[{'name': 'Tax', 'value': '1'}, {'name': 'Ref', 'value': '2'}]",
        '\'[{"name":"Tax","value":"1"},{"name":"Ref","value":"2"}]\'::json',
    ],
)
def test_a_list_of_hashes_is_mapped_from_every_nested_type(business, source):
    params = synced(business, f"SELECT 1 AS id, {source} AS notes", fields={"invoice_settings.custom_fields": "notes"})

    assert params == {
        "invoice_settings": {"custom_fields": [{"name": "Tax", "value": "1"}, {"name": "Ref", "value": "2"}]}
    }


@pytest.mark.parametrize(
    "source",
    [
        "MAP {'a': 1, 'b': 2.50, 'c': NULL}",
        "{'a': 1.0::decimal(3, 2), 'b': 2.5::decimal(3, 2)}",
        '\'{"a": "1.00", "b": "2.50"}\'::json',
    ],
)
def test_metadata_can_come_from_a_map_a_struct_or_json(business, source):
    params = synced(business, f"SELECT 1 AS id, {source} AS facts", fields={"metadata": "facts"})

    assert params == {"metadata": {"a": "1.00", "b": "2.50"}}


def test_lists_written_item_by_item_omit_nulls(business):
    fields = {"preferred_locales": ["first", "second", {"value": "en"}]}
    params = synced(business, "SELECT 1 AS id, 'de' AS first, NULL::text AS second", fields=fields)

    assert params == {"preferred_locales": ["de", "en"]}


# ── prices: currencies and tiers ─────────────────────────────────────────────────────────────────────────────────


def test_amounts_by_currency_from_dotted_fields_use_each_currencys_units(business):
    fields = {
        **PRICE,
        "unit_amount": {"column": "usd", "as": "minor_units", "currency": "usd"},
        "currency_options.eur.unit_amount": {"column": "eur", "as": "minor_units", "currency": "eur"},
        "currency_options.jpy.unit_amount": {"column": "jpy", "as": "minor_units", "currency": "jpy"},
        "currency_options.kwd.unit_amount": {"column": "kwd", "as": "minor_units", "currency": "kwd"},
    }
    select = "SELECT 1 AS id, 10.00 AS usd, 9.50::decimal(9, 2) AS eur, 1500 AS jpy, 3.250::decimal(9, 3) AS kwd"

    params = synced(business, select, resource="price", fields=fields, path="/v1/prices")
    changed = synced(
        business, f"SELECT * REPLACE (1600 AS jpy) FROM ({select})", resource="price", fields=fields, path="/v1/prices"
    )

    options = {"eur": {"unit_amount": 950}, "jpy": {"unit_amount": 1500}, "kwd": {"unit_amount": 3250}}
    assert params["currency_options"] == as_form(options)
    assert changed == as_form({"currency_options": {"jpy": {"unit_amount": 1600}}})


def test_amounts_by_currency_can_come_from_a_json_column(business):
    select = (
        'SELECT 1 AS id, 500 AS cents, \'{"eur": {"unit_amount": 450}, "GBP": {"unit_amount": 400}}\'::json AS others'
    )
    fields = {**PRICE, "unit_amount": "cents", "currency_options": "others"}

    params = synced(business, select, resource="price", fields=fields, path="/v1/prices")

    assert params["currency_options"] == as_form({"eur": {"unit_amount": 450}, "gbp": {"unit_amount": 400}})


TIERS = [{"up_to": 10, "unit_amount": 500}, {"up_to": "inf", "unit_amount": 450}]
TIERED = {
    **PRICE,
    "billing_scheme": {"value": "tiered"},
    "tiers_mode": {"value": "graduated"},
    "recurring.interval": {"value": "month"},
}


@pytest.mark.parametrize(
    ("select", "tiers"),
    [
        (
            'SELECT 1 AS id, \'[{"up_to": 10, "unit_amount": 500}, {"up_to": "inf", "unit_amount": 450}]\'::json AS t',
            "t",
        ),
        ("SELECT 1 AS id, [{'up_to': '10', 'unit_amount': 500}, {'up_to': 'inf', 'unit_amount': 450}] AS t", "t"),
        (
            "SELECT 1 AS id, 10 AS cut, 5.00 AS low, 4.50 AS high",
            [
                {"up_to": "cut", "unit_amount": {"column": "low", "as": "minor_units", "currency": "usd"}},
                {"up_to": {"value": "inf"}, "unit_amount": {"column": "high", "as": "minor_units", "currency": "usd"}},
            ],
        ),
    ],
)
def test_tiers_can_come_from_json_structs_and_columns(business, select, tiers):
    params = synced(business, select, resource="price", fields={**TIERED, "tiers": tiers}, path="/v1/prices")

    assert params["tiers"] == as_form(TIERS)


def test_tiers_from_child_rows_keep_their_order_and_convert_money(business):
    business.rows(
        "tiers",
        ("1", 2, "inf", "4.50", "EUR"),
        ("1", 1, "10", "5.00", "EUR"),
        columns="price text, place int, upper text, amount decimal(9, 2), cur text",
    )
    amount = {"column": "amount", "as": "minor_units", "currency_column": "cur"}
    tiers = {"model": "tiers", "on": "price", "order_by": "place", "fields": {"up_to": "upper", "unit_amount": amount}}

    params = synced(
        business, "SELECT '1' AS id", resource="price", fields={**TIERED, "tiers": tiers}, path="/v1/prices"
    )
    business.write_calls()
    run(business)

    assert params["tiers"] == as_form(TIERS)
    assert business.write_calls() == []


def test_child_rows_in_another_order_change_nothing(business):
    columns = "who text, name text, value text"
    rows = [("1", "Tax", "1"), ("1", "Ref", "2")]
    child = {"model": "notes", "on": "who", "fields": {"name": "name", "value": "value"}}
    fields = {"invoice_settings.custom_fields": child}
    business.rows("notes", *rows, columns=columns)
    first = synced(business, "SELECT '1' AS id", fields=fields)
    business.rows("notes", *reversed(rows), columns=columns)

    again = synced(business, "SELECT '1' AS id", fields=fields)

    assert len(first["invoice_settings"]["custom_fields"]) == 2
    assert again is None


def test_a_changed_new_or_removed_child_row_changes_only_its_parent(business):
    columns = "who text, name text, value text"
    fields = {
        "invoice_settings.custom_fields": {"model": "notes", "on": "who", "fields": {"name": "name", "value": "value"}}
    }
    select = "SELECT unnest(['1', '2']) AS id"
    business.rows("notes", ("1", "Tax", "1"), ("2", "Tax", "2"), columns=columns)
    synced(business, select, fields=fields)
    business.rows("notes", ("1", "Tax", "1"), ("2", "Tax", "3"), ("2", "Zip", "4"), columns=columns)
    changed = synced(business, select, fields=fields)
    calls = len(business.stripe.writes())
    business.rows("notes", ("1", "Tax", "1"), columns=columns)

    cleared = synced(business, select, fields=fields)

    assert calls == 1
    assert changed["invoice_settings"]["custom_fields"] == [
        {"name": "Tax", "value": "3"},
        {"name": "Zip", "value": "4"},
    ]
    assert cleared == {"invoice_settings": {"custom_fields": ""}}


# ── phases ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_phases_with_items_can_come_from_a_json_column(business):
    business.table("plans", "SELECT 'p' AS id, 'Desk' AS name")
    business.sync("plans", resource="product", key="id", fields={"id": "id", "name": "name"})
    business.table("prices", "SELECT 'm' AS id")
    price = {"currency": {"value": "usd"}, "unit_amount": {"value": 500}, "recurring.interval": {"value": "month"}}
    business.sync("prices", resource="price", key="id", fields={**price, "product": {"sync": "plans", "key": "plan"}})
    business.table("prices", "SELECT 'm' AS id, 'p' AS plan")
    business.table("people", "SELECT 'c' AS id, 'c@example.com' AS email")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.table("ramps", "SELECT 'r' AS id, 'c' AS who, 'm' AS price, 2 AS few, 5 AS many, 'now' AS start")
    business.sync(
        "ramps",
        resource="subscription_schedule",
        key="id",
        fields={
            "customer": {"sync": "people", "key": "who"},
            "start_date": "start",
            "phases": [
                {
                    "items": [{"price": {"sync": "prices", "key": "price"}, "quantity": quantity}],
                    "duration": {"interval": {"value": "month"}, "interval_count": {"value": 3}},
                }
                for quantity in ("few", "many")
            ],
        },
    )

    run(business)
    params = sent(business, "/v1/subscription_schedules")
    business.write_calls()
    run(business)

    assert [phase["items"][0]["quantity"] for phase in params["phases"]] == ["2", "5"]
    assert params["phases"][0]["duration"] == {"interval": "month", "interval_count": "3"}
    assert params["start_date"] == "now"
    assert business.write_calls() == []


# ── what becomes null ────────────────────────────────────────────────────────────────────────────────────────────


ADDRESS = {"address.city": "city", "address.line1": "street", "address.country": "country"}
PLACED = "SELECT 1 AS id, 'Bern' AS city, 'Aare 1' AS street, 'CH' AS country"


def test_a_changed_part_sends_its_whole_hash(business):
    synced(business, PLACED, fields=ADDRESS)

    changed = synced(business, f"SELECT * REPLACE ('Basel' AS city) FROM ({PLACED})", fields=ADDRESS)

    assert changed == {"address": {"city": "Basel", "line1": "Aare 1", "country": "CH"}}


def test_a_part_that_becomes_null_is_emptied_with_its_hash(business):
    synced(business, PLACED, fields=ADDRESS)

    cleared = synced(business, f"SELECT * REPLACE (NULL AS street) FROM ({PLACED})", fields=ADDRESS)
    again = synced(business, f"SELECT * REPLACE (NULL AS street) FROM ({PLACED})", fields=ADDRESS)

    assert cleared == {"address": {"city": "Bern", "line1": "", "country": "CH"}}
    assert again is None
    assert business.stripe.objects("customer")[0]["address"]["line1"] is None


def test_a_hash_whose_parts_all_become_null_is_emptied(business):
    synced(business, PLACED, fields=ADDRESS)
    nothing = "SELECT 1 AS id, NULL::text AS city, NULL::text AS street, NULL::text AS country"

    cleared = synced(business, nothing, fields=ADDRESS)

    assert cleared == {"address": ""}
    assert business.stripe.objects("customer")[0]["address"] is None


def test_nulls_can_be_ignored_in_a_part(business):
    fields = {**ADDRESS, "address.line1": {"column": "street", "nulls": "ignore"}}
    synced(business, PLACED, fields=fields)

    same = synced(business, f"SELECT * REPLACE (NULL AS street) FROM ({PLACED})", fields=fields)

    assert same is None
    assert business.stripe.objects("customer")[0]["address"]["line1"] == "Aare 1"


def test_a_key_of_metadata_that_becomes_null_is_removed_alone(business):
    fields = {"metadata": "facts"}
    synced(business, "SELECT 1 AS id, MAP {'a': '1', 'b': '2'} AS facts", fields=fields)

    changed = synced(business, "SELECT 1 AS id, MAP {'a': '1'} AS facts", fields=fields)

    assert changed == {"metadata": {"b": ""}}
    assert business.stripe.objects("customer")[0]["metadata"] == {"a": "1", "dbt_stripe_sync": "shop/things/1"}


def test_a_list_that_becomes_null_is_cleared_if_stripe_can(business):
    fields = {"invoice_settings.custom_fields": "notes"}
    synced(business, "SELECT 1 AS id, [{'name': 'Tax', 'value': '1'}] AS notes", fields=fields)

    select = "SELECT 1 AS id, NULL::struct(name text, value text)[] AS notes"
    cleared = synced(business, select, fields=fields)

    assert cleared == {"invoice_settings": {"custom_fields": ""}}


def test_one_currency_cannot_be_removed_from_a_price(business):
    fields = {**PRICE, "unit_amount": "cents", "currency_options": "others"}
    both = 'SELECT 1 AS id, 500 AS cents, \'{"eur": {"unit_amount": 4}, "gbp": {"unit_amount": 3}}\'::json AS others'
    synced(business, both, resource="price", fields=fields, path="/v1/prices")

    business.table("things", 'SELECT 1 AS id, 500 AS cents, \'{"eur": {"unit_amount": 4}}\'::json AS others')
    ran = business.cli()

    assert ran.exit_code == 1
    assert "`currency_options.gbp` is null now, and Stripe can't clear it" in ran.text


def test_all_other_currencies_are_removed_from_a_price_together(business):
    fields = {**PRICE, "unit_amount": "cents", "currency_options": "others"}
    both = 'SELECT 1 AS id, 500 AS cents, \'{"eur": {"unit_amount": 4}, "gbp": {"unit_amount": 3}}\'::json AS others'
    synced(business, both, resource="price", fields=fields, path="/v1/prices")

    none = "SELECT 1 AS id, 500 AS cents, NULL::json AS others"
    changed = synced(business, none, resource="price", fields=fields, path="/v1/prices")

    assert changed == {"currency_options": ""}


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_postgres_arrays_jsonb_numerics_and_times_are_mapped_exactly(business, postgres):
    import adbc_driver_postgresql.dbapi

    settings = {name.removeprefix("BRIGHTDESK_PG_").lower(): value for name, value in postgres.items()}
    uri = f"postgresql://{settings['user']}:{settings['password']}@/postgres?host={settings['host']}&port={settings['port']}"
    with adbc_driver_postgresql.dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS nested")
        cursor.execute("DROP TABLE IF EXISTS nested.things")
        cursor.execute(
            "CREATE TABLE nested.things AS SELECT 1 AS id, "
            '\'{"city": "Bern", "country": "CH", "line2": null}\'::jsonb AS address, '
            "ARRAY['de', NULL, 'fr'] AS languages, "
            '\'[{"name": "Tax", "value": "1"}]\'::jsonb AS notes, '
            'ARRAY[\'{"name": "Tax", "value": "1"}\']::jsonb[] AS more, '
            "12345678901234.50::numeric AS exact, "
            '\'{"n": 1.50, "t": true, "o": {"a": 1}}\'::jsonb AS facts'
        )
        connection.commit()
    import json

    profile = {
        "type": "postgres",
        "host": settings["host"],
        "port": int(settings["port"]),
        "user": settings["user"],
        "password": settings["password"],
        "dbname": "postgres",
        "schema": "nested",
    }
    (business.root / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": {"dev": profile}}}))
    business.table("things", "SELECT 1 AS id")
    business.sync(
        "things",
        resource="customer",
        key="id",
        fields={
            "address": "address",
            "preferred_locales": "languages",
            "invoice_settings.custom_fields": "notes",
            "shipping": {"name": {"value": "x"}, "address": "address"},
            "metadata": "facts",
            "balance": {"column": "exact", "as": "minor_units", "currency": "usd"},
        },
    )
    manifest = business.root / "target" / "manifest.json"
    manifest.write_text(
        manifest.read_text()
        .replace('"adapter_type": "duckdb"', '"adapter_type": "postgres"')
        .replace('\\"warehouse\\".\\"main\\".\\"things\\"', '\\"postgres\\".\\"nested\\".\\"things\\"')
        .replace('"database": "warehouse", "schema": "main"', '"database": "postgres", "schema": "nested"')
    )

    run(business)
    params = untagged(sent(business, "/v1/customers"))
    business.write_calls()
    run(business)

    assert params == {
        "address": {"city": "Bern", "country": "CH"},
        "preferred_locales": ["de", "fr"],
        "invoice_settings": {"custom_fields": [{"name": "Tax", "value": "1"}]},
        "shipping": {"name": "x", "address": {"city": "Bern", "country": "CH"}},
        "metadata": {"n": "1.5", "t": "true", "o": '{"a":1}'},
        "balance": "1234567890123450",
    }
    assert business.write_calls() == []


# ── bad rows ─────────────────────────────────────────────────────────────────────────────────────────────────────


GOOD = "SELECT 'good' AS id, {good} AS cell"
BAD = "SELECT 'bad' AS id, {bad} AS cell"


@pytest.mark.parametrize(
    "case",
    [
        (
            "customer",
            {"address": "cell"},
            '\'{"city": "Bern"}\'',
            '\'{"town": "secret"}\'',
            "`address.town` has a field that Stripe doesn't know",
            "it takes city, country",
        ),
        (
            "customer",
            {"address": "cell"},
            '\'{"city": "Bern"}\'',
            "'[\"secret\"]'",
            "`address` is a list, but Stripe expects a hash",
            None,
        ),
        (
            "customer",
            {"address": "cell"},
            '\'{"city": "Bern"}\'',
            "'{secret'",
            "`address` is not valid JSON",
            "map a JSON, struct or array column",
        ),
        (
            "customer",
            {"shipping": "cell"},
            '\'{"name": "a", "address": {"city": "b"}}\'',
            '\'{"address": {"city": "secret"}}\'',
            "`shipping.name` is missing, and Stripe requires it",
            None,
        ),
        (
            "customer",
            {"tax": "cell"},
            '\'{"validate_location": "deferred"}\'',
            '\'{"validate_location": "secret"}\'',
            "`tax.validate_location` is not one of the values that Stripe accepts",
            "one of `deferred`, `immediately`",
        ),
        (
            "customer",
            {"preferred_locales": "cell"},
            "'[\"de\"]'",
            "'{\"secret\": 1}'",
            "`preferred_locales` is a struct, but Stripe expects a list",
            None,
        ),
        ("customer", {"preferred_locales": "cell"}, "'[\"de\"]'", "'[[\"secret\"]]'", None, None),
        (
            "customer",
            {"metadata": "cell"},
            "'{\"a\": 1}'",
            "to_json(map_from_entries([('k' || i, 'secret') for i in range(60)]))",
            "`metadata` has 60 keys, Stripe accepts 50, and one is the `dbt_stripe_sync` tag",
            "map fewer keys",
        ),
        (
            "customer",
            {"metadata": "cell"},
            "'{\"a\": 1}'",
            "'{\"' || repeat('k', 41) || '\": \"secret\"}'",
            "`metadata` has a key of 41 characters, Stripe accepts 40",
            "use a shorter key",
        ),
        (
            "customer",
            {"metadata.note": "cell"},
            "'a'",
            "repeat('s', 501)",
            "`metadata.note` has 501 characters, Stripe accepts 500",
            "shorten it in the model",
        ),
        (
            "customer",
            {"description": {"template": "[[ cell.split('-')[1] ]]"}},
            "'a-b'",
            "'secret'",
            "`description` has a template that failed with",
            "try it with `show`",
        ),
        (
            "customer",
            {"description": {"template": "[[ 1 / (cell | int) ]]"}},
            "'1'",
            "'0'",
            "`description` has a template that failed with ZeroDivisionError",
            "try it with `show`",
        ),
        (
            "customer",
            {"balance": "cell"},
            "1::double",
            "'nan'::double",
            "`balance` is not finite, but Stripe expects a whole number",
            None,
        ),
        (
            "customer",
            {"balance": {"column": "cell", "as": "minor_units", "currency": "usd"}},
            "1::double",
            "'inf'::double",
            "`balance`",
            None,
        ),
        (
            "customer",
            {"balance": {"column": "cell", "as": "minor_units", "currency": "usd"}},
            "1::decimal(9, 3)",
            "1.005::decimal(9, 3)",
            "`balance`",
            None,
        ),
        (
            "coupon",
            {"percent_off": {"value": 5}, "duration": {"value": "once"}, "redeem_by": "cell"},
            "(current_date + 300)::timestamp",
            "'infinity'::timestamp",
            "`redeem_by` is infinite, or too far in the past or future",
            "make it null in the model",
        ),
        (
            "coupon",
            {"percent_off": {"value": 5}, "duration": {"value": "once"}, "redeem_by": "cell"},
            "current_date + 300",
            "'-infinity'::date",
            "`redeem_by`",
            None,
        ),
        (
            "coupon",
            {"percent_off": "cell", "duration": {"value": "once"}},
            "5::float",
            "'nan'::float",
            "`percent_off` is not finite, but Stripe expects a number",
            None,
        ),
        (
            "coupon",
            {"percent_off": {"value": 5}, "duration": "cell"},
            "'once'",
            "'secret'",
            "`duration` is not one of the values that Stripe accepts",
            "one of `forever`, `once`, `repeating`",
        ),
        (
            "tax_rate",
            {"display_name": {"value": "VAT"}, "inclusive": {"value": True}, "percentage": "cell"},
            "7.5",
            "NULL::decimal(9, 1)",
            "`percentage` is null, and Stripe requires it to create a tax_rate",
            "make the column not null",
        ),
        (
            "price",
            {**TIERED, "tiers": "cell"},
            '\'[{"up_to": "inf", "unit_amount": 5}]\'',
            "'[{\"unit_amount\": 5}]'",
            "`tiers.0.up_to` is missing, and Stripe requires it",
            None,
        ),
        (
            "price",
            {**TIERED, "tiers": "cell"},
            '\'[{"up_to": "inf", "unit_amount": 5}]\'',
            '\'[{"up_to": "secret", "unit_amount": 5}]\'',
            "`tiers.0.up_to` is text, but Stripe expects a whole number",
            None,
        ),
        (
            "price",
            {**TIERED, "tiers": "cell"},
            '\'[{"up_to": "inf", "unit_amount": 5}]\'',
            '\'[{"up_to": "inf", "unit_amount": 5.5}]\'',
            "`tiers.0.unit_amount` has decimals, but Stripe expects a whole number",
            "for money, use `as: minor_units`",
        ),
        (
            "price",
            {**PRICE, "unit_amount": {"value": 5}, "currency_options": "cell"},
            '\'{"eur": {"unit_amount": 5}}\'',
            '\'{"eur": {"unit_amount": "secret"}}\'',
            "`currency_options.eur.unit_amount` is text, but Stripe expects a whole number",
            None,
        ),
        (
            "price",
            {**PRICE, "unit_amount": {"value": 5}, "currency_options": "cell"},
            '\'{"eur": {"unit_amount": 5}}\'',
            '\'{"eur": {"town": 5}}\'',
            "has a field that Stripe doesn't know",
            "it takes",
        ),
    ],
)
def test_a_bad_row_is_rejected_alone_with_its_key_field_and_reason(business, case):
    resource, fields, good, bad, problem, hint = case
    business.table("things", f"{GOOD.format(good=good)} UNION ALL {BAD.format(bad=bad)}")
    business.sync("things", resource=resource, key="id", fields=fields)

    ran = business.cli()

    assert ran.exit_code == 1, ran.text
    assert "Traceback" not in ran.text
    assert "things" in ran.text
    assert "[bad]" in ran.text
    assert (problem or "") in ran.text
    assert (hint or "") in ran.text
    assert "secret" not in ran.text
    assert [made["metadata"]["dbt_stripe_sync"] for made in business.stripe.objects(resource)] == ["shop/things/good"]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("{'a': 'x', 'at': 'infinity'::timestamp}", "`metadata.at` is infinite, or too far"),
        ("{'a': 'secret', 'at': '290000-01-01'::timestamp}", "`metadata.at` is infinite, or too far"),
    ],
)
def test_an_unreadable_part_is_named(business, bad, problem):
    good = "{'a': 'x', 'at': '2026-01-01'::timestamp}"
    business.table("things", f"{GOOD.format(good=good)} UNION ALL {BAD.format(bad=bad)}")
    business.sync("things", resource="customer", key="id", fields={"metadata": "cell"})

    ran = business.cli()

    assert ran.exit_code == 1
    assert problem in ran.text
    assert "secret" not in ran.text
    assert business.stripe.count("customer") == 1


def test_an_infinite_time_never_reaches_a_template(business):
    business.table("things", "SELECT 'x' AS id, 'infinity'::timestamp AS cell")
    business.sync("things", resource="customer", key="id", fields={"description": {"template": "until [[ cell ]]"}})

    ran = business.cli()

    assert ran.exit_code == 1
    assert "`description` has a template that failed with ValueError" in ran.text
    assert business.stripe.count("customer") == 0


def test_a_bad_child_row_rejects_its_parent_alone_with_the_place(business):
    business.rows(
        "tiers",
        ("good", 1, "inf", "4.50", "usd"),
        ("bad", 1, "10", "5.00", "usd"),
        ("bad", 2, "inf", "4.505", "usd"),
        ("odd", 1, "inf", "5.00", None),
        columns="price text, place int, upper text, amount decimal(9, 3), cur text",
    )
    amount = {"column": "amount", "as": "minor_units", "currency_column": "cur"}
    tiers = {"model": "tiers", "on": "price", "order_by": "place", "fields": {"up_to": "upper", "unit_amount": amount}}
    business.table("things", "SELECT unnest(['good', 'bad', 'odd']) AS id")
    business.sync("things", resource="price", key="id", fields={**TIERED, "tiers": tiers})

    ran = business.cli()

    assert ran.exit_code == 1
    assert "`tiers.1.unit_amount`" in ran.text
    assert "`tiers.0.unit_amount` has no currency: column `cur` is null" in ran.text
    assert [made["metadata"]["dbt_stripe_sync"] for made in business.stripe.objects("price")] == ["shop/things/good"]


# ── parts of a hash that nothing maps ────────────────────────────────────────────────────────────────────────────

HOME = {
    "address[line1]": "Main St 1",
    "address[city]": "Graz",
    "address[country]": "AT",
    "address[postal_code]": "8010",
}


def people(business, *rows, **meta):
    business.rows("people", *rows, columns="id text, email text, country text")
    business.sync(
        "people",
        resource="customer",
        key="id",
        match=["email"],
        fields={"email": "email", "address.country": "country"},
        **meta,
    )


def test_an_adopted_customer_keeps_the_parts_of_its_address_that_no_column_has(business):
    by_hand(business, "customers", email="a@example.com", **HOME, **{"invoice_settings[footer]": "hi"})
    people(business, ("c1", "a@example.com", "DE"))

    shown = business.cli("plan", "--show-values")
    run(business)

    (customer,) = business.stripe.objects("customer")
    address = {"line1": "Main St 1", "line2": None, "city": "Graz", "country": "DE", "postal_code": "8010"}
    assert customer["address"] == {**address, "state": None}
    assert customer["invoice_settings"]["footer"] == "hi"
    assert "address.line1=Main St 1" in shown.text


def test_parts_that_someone_added_to_an_address_survive_a_change_of_its_row(business):
    people(business, ("c1", "a@example.com", "AT"))
    run(business)
    (customer,) = business.stripe.objects("customer")
    by_hand(business, f"customers/{customer['id']}", **HOME)
    people(business, ("c1", "a@example.com", "DE"))

    run(business)

    (customer,) = business.stripe.objects("customer")
    assert (customer["address"]["country"], customer["address"]["line1"]) == ("DE", "Main St 1")
    assert run(business).exit_code == 0


def test_a_part_removed_from_the_mapping_is_left_unchanged(business):
    select = "SELECT 1 AS id, 'Graz' AS city, 'AT' AS country"
    synced(business, select, fields={"address.city": "city", "address.country": "country"})
    synced(business, select.replace("AT", "DE"), fields={"address.country": "country"})

    (customer,) = business.stripe.objects("customer")
    assert (customer["address"]["city"], customer["address"]["country"]) == ("Graz", "DE")


def test_a_change_outside_of_hashes_costs_no_read(business):
    people(business, ("c1", "a@example.com", "AT"))
    run(business)
    people(business, ("c1", "b@example.com", "AT"))
    business.stripe.reset_requests()

    run(business)

    (customer,) = business.stripe.objects("customer")
    assert not [line for line in business.stripe.requests() if line.path == f"/v1/customers/{customer['id']}"][1:]


def test_a_paused_subscription_keeps_the_date_on_which_it_resumes(business):
    customer = by_hand(business, "customers", email="a@example.com")["id"]
    price = by_hand(
        business,
        "prices",
        **{"currency": "usd", "unit_amount": "500", "recurring[interval]": "month", "product_data[name]": "Desk"},
    )["id"]
    fields = {"customer": "customer", "items": [{"price": "price"}], "pause_collection.behavior": "pause"}
    columns = "id text, customer text, price text, pause text"
    business.rows("subs", ("s1", customer, price, "void"), columns=columns)
    business.sync("subs", resource="subscription", key="id", fields=fields)
    run(business)
    (subscription,) = business.stripe.objects("subscription")
    later = subscription["created"] + 86_400 * 40
    hand = {"pause_collection[behavior]": "void", "pause_collection[resumes_at]": later}
    by_hand(business, f"subscriptions/{subscription['id']}", **hand)
    business.rows("subs", ("s1", customer, price, "keep_as_draft"), columns=columns)

    run(business)

    (subscription,) = business.stripe.objects("subscription")
    assert subscription["pause_collection"] == {"behavior": "keep_as_draft", "resumes_at": later}
