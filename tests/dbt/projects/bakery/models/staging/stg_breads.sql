select * from {{ ref('raw_breads') }}
