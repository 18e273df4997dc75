select
    prices.price_code,
    prices.plan_code,
    prices.currency,
    prices.amount,
    prices.billing_interval
from {{ ref('stg_plan_prices') }} as prices
inner join {{ ref('stripe_products') }} as products on prices.plan_code = products.plan_code
where prices.is_current
