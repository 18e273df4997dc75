select offer_id, account_id, price_code, seats, valid_until
from {{ ref('raw_offers') }}
