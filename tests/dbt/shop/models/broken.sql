select cast('a' as integer) as id from {{ ref('people') }}
