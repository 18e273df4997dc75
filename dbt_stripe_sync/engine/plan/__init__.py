"""A plan: what Stripe is asked, what is decided, in which order it is sent, and its file."""
