select usage_id, account_id, metric, quantity, used_at
from {{ ref('raw_usage') }}
