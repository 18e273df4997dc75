select sum(price) as total from {{ ref('orders') }}
