select * from {{ source('raw', 'tariffs') }}
