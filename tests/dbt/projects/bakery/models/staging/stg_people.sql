select 1 as id, 'ann@example.com' as email
{% if false %}select * from {{ source('crm', 'people') }}{% endif %}
