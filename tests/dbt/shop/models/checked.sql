select id, email as address from {{ ref('people') }}
