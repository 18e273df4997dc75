"""A plan, carried out: lanes, intents, calls, outcomes; and what puts a state right."""
