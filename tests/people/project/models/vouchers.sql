select * from {{ source('raw', 'vouchers') }}
