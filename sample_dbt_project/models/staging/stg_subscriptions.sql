select subscription_id, account_id, price_code, status, trial_ends_at, discount_code, collection
from {{ ref('raw_subscriptions') }}
