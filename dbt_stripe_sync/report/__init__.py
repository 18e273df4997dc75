"""What a run did: one RunReport, three views."""
