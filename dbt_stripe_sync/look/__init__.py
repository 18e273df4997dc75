"""The read-only views: rows as they would be sent, the catalog, and the health of each part."""
