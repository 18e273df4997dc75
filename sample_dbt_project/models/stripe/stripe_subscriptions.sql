select
    subscriptions.subscription_id,
    subscriptions.account_id,
    subscriptions.discount_code,
    subscriptions.collection,
    case when subscriptions.collection = 'send_invoice' then 30 end as days_until_due
from {{ ref('stg_subscriptions') }} as subscriptions
where subscriptions.status = 'active'
