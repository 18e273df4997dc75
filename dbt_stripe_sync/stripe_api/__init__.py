"""Everything that knows Stripe: the catalog of resources, their lifecycles and rules, and the gateway to the API."""
