"""What changed, what has to be sent, and sending it exactly once."""
