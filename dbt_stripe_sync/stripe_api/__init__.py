"""Everything that knows Stripe: the catalog of its resources, their lifecycles, money, and the gateway to its API."""
