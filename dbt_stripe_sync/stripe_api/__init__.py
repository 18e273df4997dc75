"""Everything that knows Stripe: the catalogue of its resources, their lifecycles, money, and the gateway to its API."""
