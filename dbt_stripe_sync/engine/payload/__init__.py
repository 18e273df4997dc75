"""A row and its sync into Stripe parameters, and one set of parameters against another."""
