"""What others refer to comes first."""

from hypothesis import given
from hypothesis import strategies as st
from yaml_project import Project

from dbt_stripe_sync.config.order import in_reference_order


def test_parents_come_before_children_whatever_their_names(project):
    project.add("a_subs", "resource: subscription\nkey: id\nfields: {customer: {sync: z_customers, key: c}, items: i}")
    project.add("z_customers", "resource: customer\nkey: id\nfields: {email: email}")

    assert [sync.name for sync in in_reference_order(project.parse().syncs)] == ["z_customers", "a_subs"]


@given(st.permutations(range(6)), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=10))
def test_any_acyclic_references_can_be_ordered(order, pairs):
    project = Project()
    edges = {(child, parent) for child, parent in pairs if child > parent}
    for number in order:
        parents = [parent for child, parent in sorted(edges) if child == number]
        fields = ", ".join(f"metadata.p{parent}: {{sync: s{parent}, key: c}}" for parent in parents)
        fields = f"email: email, {fields}"
        project.add(f"s{number}", f"resource: customer\nkey: id\nfields: {{{fields}}}")

    names = [sync.name for sync in in_reference_order(project.parse().syncs)]

    assert sorted(names) == [f"s{number}" for number in range(6)]
    assert all(names.index(f"s{parent}") < names.index(f"s{child}") for child, parent in edges)


def test_some_syncs_can_be_ordered_without_the_others(project):
    project.add("subs", "resource: subscription\nkey: id\nfields: {customer: {sync: customers, key: c}, items: i}")
    project.add("customers", "resource: customer\nkey: id\nfields: {email: email}")
    subs = [sync for sync in project.parse().syncs if sync.name == "subs"]

    assert list(in_reference_order(subs)) == subs
