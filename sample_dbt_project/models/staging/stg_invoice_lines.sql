select line_id, invoice_ref, account_id, description, amount, lower(currency) as currency
from {{ ref('raw_invoice_lines') }}
