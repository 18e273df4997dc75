"""Makes plans: what to ask Stripe, what each row needs, the order of the changes, and the plan file."""
