"""Reports what a run did: one RunReport, three views."""
