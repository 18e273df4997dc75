select 1 as id, 1 as receipt_id
{% if false %}select * from {{ source('till', 'refunds') }}{% endif %}
