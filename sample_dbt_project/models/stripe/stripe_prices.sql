-- A price has one amount, or tiers; what is metered is billed by what was used.
select
    prices.price_code,
    prices.plan_code,
    prices.currency,
    prices.amount,
    prices.billing_interval,
    case when prices.plan_code = 'messages' then 'messages' end as metric,
    case when prices.plan_code = 'messages' then 'metered' end as usage_type,
    case when prices.amount is null then 'tiered' end as billing_scheme,
    case when prices.amount is null then 'graduated' end as tiers_mode
from {{ ref('stg_plan_prices') }} as prices
inner join {{ ref('stripe_products') }} as products on prices.plan_code = products.plan_code
where prices.is_current
