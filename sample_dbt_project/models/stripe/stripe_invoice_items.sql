select line_id, invoice_ref, account_id, description, amount, currency
from {{ ref('stg_invoice_lines') }}
