select id, email from {{ ref('raw_people') }}
