select offer_id, price_code, seats
from {{ ref('stg_offers') }}
