"""The tag names one row, and fits into Stripe's metadata."""

from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.model.tag import TAG, TAG_CHARACTERS, build_tag

names = st.from_regex(r"[\w.-]{1,100}", fullmatch=True)


def test_a_tag_is_human_readable():
    assert (TAG, build_tag("shop", "customers", "42")) == ("dbt_stripe_sync", "shop/customers/42")


@given(names, names, st.text(max_size=2000))
def test_a_tag_always_fits(project, sync, key):
    assert len(build_tag(project, sync, key)) <= TAG_CHARACTERS


@given(st.lists(st.text(min_size=400, max_size=700), min_size=2, max_size=5, unique=True))
def test_long_keys_have_different_tags(keys):
    assert len({build_tag("shop", "customers", key) for key in keys}) == len(keys)
