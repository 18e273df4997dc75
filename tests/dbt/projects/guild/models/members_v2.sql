select 1 as id, 'ann@example.com' as email, 'Ann' as full_name from {{ ref('tools', 'months') }}
