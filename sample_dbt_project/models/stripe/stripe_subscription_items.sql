select seats.seat_line_id, seats.subscription_id, seats.price_code, seats.seats
from {{ ref('stg_seats') }} as seats
inner join {{ ref('stripe_subscriptions') }} as subscriptions on seats.subscription_id = subscriptions.subscription_id
