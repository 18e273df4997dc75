"""Columns that a sync reads and its models lack are named before anything is read."""

from yaml_project import text_of

from dbt_stripe_sync.config.columns import check_columns


def test_a_missing_column_is_named_with_a_suggestion(project):
    project.add("dim_customers", "name: customers\nresource: customer\nkey: id\nfields: {email: e_mail}")

    (problem,) = check_columns(project.sync(), {"model.shop.dim_customers": ["id", "email", "name"]})

    assert text_of(problem) == (
        "error[unknown-column]: sync `customers` reads column `e_mail`, which `dim_customers` lacks\n"
        "  at models/schema.yml: dim_customers.meta.stripe_sync.fields.email\n"
        "\n"
        "hint: did you mean `email`? columns are `id`, `email`, `name`"
    )


def test_every_column_reference_is_checked(project):
    project.add_plain("lines")
    project.add("people", "resource: customer\nkey: id\nfields: {email: email}")
    project.add(
        "subs",
        """
        resource: subscription
        key: k
        match: [metadata.k]
        fields:
          customer: {sync: people, key: r}
          description: "[[ t ]]"
          default_payment_method: {lookup: product, by: id, column: l}
          application_fee_percent: {column: c}
          items: {model: lines, on: j, order_by: o, fields: {price: p, quantity: q}}
          default_tax_rates: [x]
        """,
    )
    sync = next(sync for sync in project.parse().syncs if sync.name == "subs")

    problems = check_columns(sync, {"model.shop.subs": [], "model.shop.lines": []})

    assert {problem.summary.split("`")[3] for problem in problems} == set("krtlcjopqx")
    assert [model.name for model in sync.models] == ["subs", "lines"]


def test_case_does_not_matter_if_the_warehouse_folds_names(project):
    project.add("customers", "resource: customer\nkey: id\nfields: {email: Email}")

    assert check_columns(project.sync(), {"model.shop.customers": ["ID", "EMAIL"]}) == ()
