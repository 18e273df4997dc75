select seat_line_id, subscription_id, price_code, seats
from {{ ref('raw_seats') }}
