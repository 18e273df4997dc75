select 1 as id, 'ann@example.com' as email from {{ ref('tools', 'months') }}
