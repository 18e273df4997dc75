"""Stripe's documented rules as data: what it accepts for each parameter, each with its source.

The sandbox enforces them and plans check them, both through `checking.check_rules`. Nothing is imported here: a run
without a changed row reads only two small tables of them.
"""
