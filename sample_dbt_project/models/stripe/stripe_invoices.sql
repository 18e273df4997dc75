select distinct invoice_ref, account_id, currency
from {{ ref('stg_invoice_lines') }}
