select offer_id, account_id, valid_until
from {{ ref('stg_offers') }}
