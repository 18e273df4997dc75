select 1 as id, 1 as customer_id, 1 as bread_id, timestamp '2026-01-01' as sold_at
{% if false %}select * from {{ source('till', 'receipts') }}{% endif %}
