-- Stripe takes usage of the last 35 days, so the sample's is always of this week.
select
    usage_id,
    account_id,
    metric,
    quantity,
    cast({{ dbt.dateadd('day', '-1 * days_ago', 'current_date') }} as timestamp) as used_at
from {{ ref('raw_usage') }}
