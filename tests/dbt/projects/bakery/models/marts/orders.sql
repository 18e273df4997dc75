select r.id, r.customer_id, b.price, r.sold_at from {{ ref('stg_receipts') }} r join {{ ref('stg_breads') }} b on b.id = r.bread_id
