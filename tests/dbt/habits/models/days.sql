select cast(day as date) as day from (values (timestamp '2026-01-01')) as days (day)
