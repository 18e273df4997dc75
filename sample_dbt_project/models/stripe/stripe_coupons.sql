select
    voucher_code,
    title,
    percent_off,
    amount_off,
    currency,
    months,
    case when months is null then 'once' else 'repeating' end as duration
from {{ ref('stg_vouchers') }}
