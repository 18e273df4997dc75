"""Finds what changed, plans what has to be sent, and sends it exactly once."""
