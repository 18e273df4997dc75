"""All that knows Stripe: the catalogue of its resources, their lifecycles, its money, and the gateway to its API."""
