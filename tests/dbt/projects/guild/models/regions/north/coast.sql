select * from {{ ref('north') }}
