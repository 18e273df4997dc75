"""A template that would use up memory or time is stopped, but ordinary templates aren't."""

from __future__ import annotations

import resource
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt_stripe_sync.engine.payload.template_limits import MOST_CHARACTERS, TemplateLimitError
from dbt_stripe_sync.engine.payload.templates import render_template

GREEDY = {
    "a text times a number": "[[ 'x' * 10 ** 8 ]]",
    "a number times a text": "[[ 10 ** 9 * 'x' ]]",
    "a list times a number": "[[ [1] * 10 ** 8 ]]",
    "a power": "[[ 9 ** (9 ** 9) ]]",
    "a product": "[% set ns = namespace(x=2 ** 4000) %][% for i in range(9) %][% set ns.x = ns.x * ns.x %][% endfor %]",
    "a long range": "[% for i in range(10 ** 9) %][% endfor %]",
    "loops in loops": "[% for a in range(400) %][% for b in range(400) %][% for c in range(400) %][% endfor %]"
    "[% endfor %][% endfor %]",
    "a text that doubles": "[% set ns = namespace(x='ab') %][% for i in range(60) %][% set ns.x = ns.x ~ ns.x %]"
    "[% endfor %]",
    "a sum that doubles": "[% set ns = namespace(x='ab') %][% for i in range(60) %][% set ns.x = ns.x + ns.x %]"
    "[% endfor %]",
    "a list that doubles": "[% set ns = namespace(x=[1]) %][% for i in range(60) %][% set ns.x = [ns.x, ns.x] %]"
    "[% endfor %][[ ns.x ]]",
    "a list that doubles, as JSON": "[% set ns = namespace(x=[1]) %][% for i in range(60) %]"
    "[% set ns.x = [ns.x, ns.x] %][% endfor %][[ ns.x | tojson ]]",
    "a wide text": "[[ 'x'.ljust(10 ** 9) ]]",
    "a wide number": "[[ '1'.zfill(10 ** 9) ]]",
    "a width in a format": "[[ '%999999999d' % 1 ]]",
    "a width in a method": "[[ '{:>999999999}'.format(1) ]]",
    "a width in a method's argument": "[[ '{:>{w}}'.format(1, w=999999999) ]]",
    "a width of its own argument": "[[ '%*d' % (999999999, 1) ]]",
    "a precision of its own argument": "[[ '%.*f' % (999999999, 1.5) ]]",
    "a width in a format filter's argument": "[[ '%*d' | format(999999999, 1) ]]",
    "an integer of a huge exponent": "[[ d | int ]]",
    "a huge exponent in a format": "[[ '%d' % d ]]",
    "a huge exponent in a method": "[[ '{:f}'.format(d) ]]",
    "a huge exponent's own method": "[[ d.as_integer_ratio() ]]",
    "a wide filter": "[[ 'x' | center(999999999) ]]",
    "a format filter": "[[ '%999999999d' | format(1) ]]",
    "a replacement that grows": "[[ ('x' * 9000).replace('x', 'y' * 9000) ]]",
    "a replacing filter that grows": "[[ ('x' * 9000) | replace('x', 'y' * 9000) ]]",
    "joining that grows": "[[ ('x' * 9000) | join('y' * 9000) ]]",
    "a long output": "[% for i in range(9000) %]0123456789abcdef[% endfor %]",
    "a macro that calls itself twice": "[% macro m(n) %][% if n %][[ m(n - 1) ]][[ m(n - 1) ]][% endif %][% endmacro %]"
    "[[ m(40) ]]",
    "a loop that calls itself twice": "[% for x in [[1], [1]] recursive %][% if loop.depth < 40 %]"
    "[[ loop([1, 1]) ]][% endif %][% endfor %]",
    "filters in loops": "[% for i in range(400) %][[ range(400) | map('string') | join | length ]][% endfor %]",
}


def peak():
    """The most memory that this process has had, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", GREEDY)
def test_an_excessive_template_is_stopped_at_once(name):
    began, before = time.thread_time(), peak()
    with pytest.raises(TemplateLimitError):
        render_template(GREEDY[name], {"d": Decimal("1E+900000")})
    assert time.thread_time() - began < 5
    assert peak() - before < 100_000


COMMON = {
    "[[ first ]] [[ last ]]": "Ann Ames",
    "[[ first | upper ]]-[[ n ]]": "ANN-12345678901",
    "[% for tag in tags %][[ tag ]][[ ', ' if not loop.last ]][% endfor %]": "a, b, c",
    "[[ tags | join(', ') ]]": "a, b, c",
    "[[ first ~ ' ' ~ last ]]": "Ann Ames",
    "[[ n * 100 ]]": "1234567890100",
    "[[ n ** 2 ]]": str(12345678901**2),
    "[[ '%.2f' % 1.5 ]]": "1.50",
    "[[ '{:>8}'.format(first) ]]": "Ann",
    "[[ first.replace('A', 'E').lower() ]]": "enn",
    "[[ note or 'none' ]]": "none",
    "[[ note ]]": "",
    "[% set x = tags | length %][[ x + 1 ]]": "4",
    "[[ tags | map('upper') | list ]]": "['A', 'B', 'C']",
    "[% for i in range(3) %][[ i ]][% endfor %]": "012",
    "[[ dict(a=1) | tojson ]]": '{"a": 1}',
    "[[ 'x' * 500 ]]": "x" * 500,
    "[[ first | truncate(2, true, '', 0) ]]": "An",
    "[[ tags | first ]][[ tags[-1] ]]": "ac",
    "[% for k, v in {'a': 1, 'b': 2}.items() %][[ k ]]=[[ v ]];[% endfor %]": "a=1;b=2;",
}


@pytest.mark.parametrize("source", COMMON)
def test_ordinary_templates_are_not_limited(source):
    row = {"first": "Ann", "last": "Ames", "n": 12345678901, "tags": ["a", "b", "c"], "note": None}
    assert render_template(source, row) == COMMON[source]


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40), count=st.integers(0, 10**12))
def test_repeated_text_is_computed_unless_it_would_be_too_long(text, count):
    row = {"t": text, "n": count}
    if len(text) * count <= MOST_CHARACTERS:
        assert render_template("[[ t * n ]]", row) == (text * count).strip()
    else:
        with pytest.raises(TemplateLimitError):
            render_template("[[ t * n ]]", row)


def test_an_excessive_template_rejects_only_its_row(business):
    business.rows("people", ("a", 1), ("b", 10**9), columns="id text, n bigint")
    business.sync("people", resource="customer", key="id", fields={"name": {"template": "[[ 'x' * n ]]"}})

    ran = business.cli()

    assert ran.exit_code == 1
    assert "template-too-large" in ran.text
    assert [found["name"] for found in business.stripe.objects("customer")] == ["x"]


def test_running_out_of_memory_is_reported(business, monkeypatch):
    business.rows("people", ("a",), columns="id text")
    business.sync("people", resource="customer", key="id", fields={"name": "id"})

    def exhausted(*_args, **_named):
        raise MemoryError

    monkeypatch.setattr("dbt_stripe_sync.api.load_workload", exhausted)
    ran = business.cli()
    assert (ran.exit_code, "error[out-of-memory]" in ran.text) == (2, True)


DEEP = {
    "parentheses": "[[ " + "(" * 3000 + "first" + ")" * 3000 + " ]]",
    "lists": "[[ " + "[" * 500 + "first" + "]" * 500 + " ]]",
    "sums": "[[ first" + " + 1" * 5000 + " ]]",
    "statements": "[% if first %]" * 200 + "x" + "[% endif %]" * 200,
    "filters": "[[ first" + " | upper" * 3000 + " ]]",
    "a number": "[[ first ~ " + "9" * 5000 + " ]]",
}


@pytest.mark.parametrize("name", DEEP)
def test_a_too_deeply_nested_template_is_reported_with_its_location(business, name):
    business.rows("people", ("c1", "Ann"), columns="id text, first text")
    business.sync("people", resource="customer", key="id", fields={"name": {"template": DEEP[name]}})

    ran = business.cli("parse")

    assert ran.exit_code == 2
    assert "error[template-syntax]" in ran.text
    assert "people.meta.stripe_sync.fields.name" in ran.text


@pytest.mark.parametrize("source", ["[% macro m(x) %][[ m(x) ]][% endmacro %][[ m(first) ]]", "[[ first / 0 ]]"])
def test_a_failing_template_rejects_its_row_even_if_objects_are_matched_by_it(business, source):
    business.rows("people", ("c1", "Ann"), columns="id text, first text")
    fields = {"email": {"template": source}, "name": "first"}
    business.sync("people", resource="customer", key="id", fields=fields, match=["email"])

    ran = business.cli()

    assert ran.exit_code == 1
    assert "error[template-failed]" in ran.text
    assert business.stripe.count("customer") == 0
