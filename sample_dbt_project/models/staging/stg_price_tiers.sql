select price_code, tier_no, up_to, unit_price
from {{ ref('raw_price_tiers') }}
