select count(*) as n from {{ ref('stg_refunds') }}, {{ ref('orders') }}
