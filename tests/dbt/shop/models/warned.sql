select id, email from {{ ref('people') }}
