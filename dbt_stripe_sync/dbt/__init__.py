"""Everything that knows dbt, 1.x and 2, without importing it (except for the plugin)."""
