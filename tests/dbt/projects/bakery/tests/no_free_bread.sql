{{ config(tags=['slow']) }}
select * from {{ ref('orders') }} where price <= 0
