select 1 as id, 'ann@example.com' as email, date '2026-01-01' as joined_on, '{{ target.name }}' as built_in
