"""Applies plans: sends their changes to Stripe, records the outcomes, and recovers after a crash or a lost state."""
