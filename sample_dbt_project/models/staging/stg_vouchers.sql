select voucher_code, title, percent_off, amount_off, lower(currency) as currency, months
from {{ ref('raw_vouchers') }}
