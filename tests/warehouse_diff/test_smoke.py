from __future__ import annotations
from conftest import people


def test_only_what_changed_travels(customers, read):
    ran = customers.cli()
    print(ran.out, ran.err)
    assert ran.exit_code == 0
    assert read.take() == {"customers": 8}
    ran = customers.cli()
    print(ran.out, ran.err)
    assert read.take() == {"customers": 1}
    customers.rows("customers", *people(9, n7="new@example.com")[1:], columns="id int, email text")
    ran = customers.cli()
    print(ran.out, ran.err)
    assert read.take() == {"customers": 4}
    ran = customers.cli()
    print(ran.out, ran.err)
    assert read.take() == {"customers": 1}
    assert len(customers.stripe.objects("customer")) == 8
