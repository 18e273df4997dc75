"""Stripe's documented rules as data: what it accepts of each parameter, and who says so.

The sandbox enforces them, and a plan foresees them, by the same `checking.check_rules`. Nothing is imported here: a run
without a changed row reads two small tables of these, and none of the rest.
"""
