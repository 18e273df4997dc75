select
    tiers.price_code,
    tiers.tier_no,
    coalesce(cast(tiers.up_to as varchar), 'inf') as up_to,
    tiers.unit_price,
    prices.currency
from {{ ref('stg_price_tiers') }} as tiers
inner join {{ ref('stripe_prices') }} as prices on tiers.price_code = prices.price_code
