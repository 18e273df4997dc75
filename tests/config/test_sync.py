"""What a user writes below `stripe_sync` becomes the sync that they meant."""

import pytest

from dbt_stripe_sync.model.lifecycle import Mode, Removal
from dbt_stripe_sync.model.sync import (
    ChildRows,
    Column,
    Constant,
    Conversion,
    ListOf,
    Lookup,
    Match,
    Nulls,
    SyncRef,
    Template,
    Threshold,
)

CUSTOMER = "resource: customer\nkey: id\n"


def values(sync):
    return {".".join(field.path): field.value for field in sync.fields}


def test_one_sync_can_use_the_whole_syntax(project):
    project.add(
        "stripe_customers",
        """
        resource: customer
        key: user_id
        mode: upsert
        match: [metadata.user_id, email]
        fields:
          email: email
          name: {template: "[[ first_name ]] [[ last_name ]]"}
          address.city: city
          metadata.plan: plan_name
          balance: {column: credit_usd, as: minor_units, currency: usd}
          tax_exempt: {value: none}
          preferred_locales: locales
        on_removed: delete
        limits: {max_removed: 10%, max_changes: 50000}
        """,
    )

    sync = project.sync()

    assert (sync.name, sync.project, sync.resource, sync.key) == ("stripe_customers", "shop", "customer", ("user_id",))
    assert (sync.mode, sync.on_removed) == (Mode.UPSERT, Removal.DELETE)
    assert sync.match == (
        Match(by="metadata.user_id", value=Column(name="user_id")),
        Match(by="email", value=Column(name="email")),
    )
    assert sync.limits.max_removed == Threshold(percent=10.0)
    assert sync.limits.max_changes == Threshold(count=50000)
    assert values(sync) == {
        "email": Column(name="email"),
        "name": Template(source="[[ first_name ]] [[ last_name ]]", columns=("first_name", "last_name")),
        "address.city": Column(name="city"),
        "metadata.plan": Column(name="plan_name"),
        "balance": Column(name="credit_usd", convert=Conversion.MINOR_UNITS, currency="usd"),
        "tax_exempt": Constant(value="none"),
        "preferred_locales": Column(name="locales"),
    }


@pytest.mark.parametrize("spelling", ["invoice_item", "invoiceitem", "invoice_items", "InvoiceItem"])
def test_a_resource_can_be_spelled_as_stripe_does(project, spelling):
    project.add("items", f"resource: {spelling}\nkey: id\nfields: {{customer: customer_id, amount: cents}}")

    assert project.sync().resource == "invoice_item"


def test_dotted_and_nested_fields_are_equivalent(project):
    project.add("dotted", CUSTOMER + "fields: {shipping.name: n, shipping.address.line1: street}")
    project.add("nested", CUSTOMER + "fields: {shipping: {name: n, address: {line1: street}}}")

    dotted, nested = project.parse().syncs

    assert (
        values(dotted)
        == values(nested)
        == {"shipping.name": Column(name="n"), "shipping.address.line1": Column(name="street")}
    )


def test_a_reference_orders_the_syncs(project):
    project.add(
        "subs", "resource: subscription\nkey: k\nfields: {customer: {sync: customers, key: [tenant, user]}, items: i}"
    )
    project.add("customers", "resource: customer\nkey: [tenant, id]\nfields: {email: email}")

    subs, _ = project.parse().syncs

    assert subs.depends_on == ("customers",)
    assert values(subs)["customer"] == SyncRef(sync="customers", columns=("tenant", "user"))


def test_a_look_up_names_the_resource_as_the_catalog_does(project):
    project.add(
        "subs",
        "resource: subscription\nkey: id\nfields: {customer: {lookup: customers, by: email, column: m}, items: i}",
    )

    assert values(project.sync())["customer"] == Lookup(resource="customer", by="email", column="m")


def test_a_list_can_be_written_item_by_item(project):
    project.add("customers", CUSTOMER + "fields: {email: mail}")
    project.add(
        "prices",
        "resource: price\nkey: code\nfields: {currency: {value: usd}, unit_amount: cents, product: product_id}",
    )
    project.add(
        "subs",
        """
        resource: subscription
        key: id
        fields:
          customer: {sync: customers, key: user_id}
          items: [{price: {sync: prices, key: plan_code}, quantity: seats}]
          default_tax_rates: [first_rate, {value: txr_fixed}]
        """,
    )

    sync = project.parse().syncs[2]

    (item,) = values(sync)["items"].items
    assert [(field.path, field.value) for field in item] == [
        (("price",), SyncRef(sync="prices", columns=("plan_code",))),
        (("quantity",), Column(name="seats")),
    ]
    assert values(sync)["default_tax_rates"] == ListOf(items=(Column(name="first_rate"), Constant(value="txr_fixed")))
    assert sync.depends_on == ("customers", "prices")


@pytest.mark.parametrize("word", ["on", "'on'"])
def test_child_rows_join_on_the_key_even_if_yaml_reads_on_as_true(project, word):
    project.add_plain("sub_items")
    project.add(
        "subs",
        f"""
        resource: subscription
        key: id
        fields:
          customer: customer_id
          items: {{model: sub_items, {word}: subscription_id, fields: {{price: price_id}}, order_by: position}}
        """,
    )

    items = values(project.sync())["items"]

    assert isinstance(items, ChildRows)
    assert (items.model.name, items.on, items.parent_on, items.order_by) == (
        "sub_items",
        ("subscription_id",),
        ("id",),
        ("position",),
    )


def test_columns_can_declare_their_own_mapping(project):
    project.add(
        "customers",
        CUSTOMER + "fields: {name: full_name}",
        columns={"mail": {"stripe_field": "email"}, "town": {"stripe_field": "address.city"}, "other": {}},
    )

    assert values(project.sync()) == {
        "name": Column(name="full_name"),
        "email": Column(name="mail"),
        "address.city": Column(name="town"),
    }


def test_columns_can_name_their_sync(project):
    project.add(
        "people",
        """
        - {name: buyers, resource: customer, key: id, fields: {name: name}}
        - {name: sellers, resource: account, key: id, fields: {type: {value: custom}}}
        """,
        columns={"mail": {"stripe_sync": {"buyers": "email", "sellers": "email"}}},
    )

    buyers, sellers = project.parse().syncs

    assert values(buyers)["email"] == values(sellers)["email"] == Column(name="mail")


def test_a_disabled_sync_is_ignored(project):
    project.add("customers", CUSTOMER + "enabled: false\nfields: {emial: email}")

    assert project.parse().syncs == ()
    assert project.problems() == []


def test_an_insert_only_resource_needs_no_mode(project):
    project.add("events", "resource: billing.meter_event\nkey: id\nfields: {event_name: name, payload.value: n}")

    assert project.sync().mode is Mode.INSERT


def test_a_map_may_have_a_key_named_like_a_keyword(project):
    project.add(
        "events",
        "resource: billing.meter_event\nkey: id\n"
        "fields: {event_name: name, payload: {stripe_customer_id: customer_id, value: n}}",
    )

    assert values(project.sync())["payload.value"] == Column(name="n")


def test_a_map_comes_from_one_column_or_a_constant(project):
    project.add("one", CUSTOMER + "fields: {metadata: {column: labels}}")
    project.add("two", CUSTOMER + "fields: {metadata: {value: {team: growth}}}")

    one, two = project.parse().syncs

    assert values(one) == {"metadata": Column(name="labels")}
    assert values(two) == {"metadata": Constant(value={"team": "growth"})}


def test_a_keyword_is_a_valid_constant_for_a_timestamp(project):
    project.add("subs", "resource: subscription\nkey: id\nfields: {customer: c, items: i, trial_end: {value: now}}")

    assert values(project.sync())["trial_end"] == Constant(value="now")


def test_nulls_applies_to_a_sync_or_to_one_field(project):
    project.add("customers", CUSTOMER + "nulls: ignore\nfields: {email: email, phone: {column: phone, nulls: clear}}")

    assert {".".join(f.path): f.nulls for f in project.sync().fields} == {"email": Nulls.IGNORE, "phone": Nulls.CLEAR}


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        ("[[ first ]] [[ last | upper ]]", ("first", "last")),
        ("[% if vip %][[ name ]]![% endif %]", ("name", "vip")),
        ("[% for i in range(2) %][[ i ]][% endfor %]", ()),
        ("{{ name }}", ("name",)),
    ],
)
def test_a_template_knows_its_columns(project, source, columns):
    project.add("customers", CUSTOMER + f"fields: {{name: {{template: {source!r}}}}}")

    assert values(project.sync())["name"] == Template(source=source, columns=columns)


def test_plain_text_with_square_brackets_is_a_template(project):
    project.add("customers", CUSTOMER + "fields: {name: '[[ first ]]'}")

    assert values(project.sync())["name"] == Template(source="[[ first ]]", columns=("first",))


def test_curly_brackets_that_dbt_left_alone_are_allowed(project):
    project.add(
        "customers",
        CUSTOMER + "fields: {name: '{{ first }}'}",
        raw_meta={"stripe_sync": {"fields": {"name": "{% raw %}{{ first }}{% endraw %}"}}},
    )

    assert values(project.sync())["name"] == Template(source="{{ first }}", columns=("first",))


def test_dbts_own_variables_in_meta_are_allowed(project):
    project.add(
        "customers",
        CUSTOMER + "fields: {email: mail_dev}",
        raw_meta={"stripe_sync": {"fields": {"email": "mail_{{ target.name }}"}}},
    )

    assert values(project.sync()) == {"email": Column(name="mail_dev")}


def fingerprint_of(project, text):
    project.nodes.clear()
    project.add("customers", text)
    return project.sync().fingerprint


def test_the_fingerprint_changes_only_with_the_mapping(project):
    first = fingerprint_of(project, CUSTOMER + "fields: {email: email, name: name}")

    assert fingerprint_of(project, "fields: {name: name, email: email}\n" + CUSTOMER) == first
    assert fingerprint_of(project, CUSTOMER + "limits: {max_changes: 5}\nfields: {email: email, name: name}") == first
    assert fingerprint_of(project, CUSTOMER + "on_removed: delete\nfields: {email: email, name: name}") == first
    assert fingerprint_of(project, CUSTOMER + "fields: {email: mail, name: name}") != first
    assert fingerprint_of(project, CUSTOMER + "nulls: ignore\nfields: {email: email, name: name}") != first
    assert fingerprint_of(project, "resource: customer\nkey: uid\nfields: {email: email, name: name}") != first


def test_a_broken_sync_is_not_also_reported_as_missing(project):
    project.add("customers", CUSTOMER + "fields: {emial: email}")
    project.add("subs", "resource: subscription\nkey: k\nfields: {customer: {sync: customers, key: user_id}, items: i}")

    assert [problem.partition("]")[0] for problem in project.problems()] == ["error[unknown-parameter"]
