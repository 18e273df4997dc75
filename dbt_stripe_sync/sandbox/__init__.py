"""A local, stateful Stripe for rehearsal, demo and tests."""
