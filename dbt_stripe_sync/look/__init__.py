"""The read-only views: rows as they would be sent, the catalogue, and the health of each part."""
