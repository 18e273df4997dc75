select price_code, plan_code, lower(currency) as currency, amount, billing_interval, is_current
from {{ ref('raw_plan_prices') }}
