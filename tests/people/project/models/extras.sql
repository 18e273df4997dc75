select * from {{ source('raw', 'extras') }}
