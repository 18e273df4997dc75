select
    account_id,
    trim(company) as company,
    lower(contact_email) as email,
    street,
    city,
    postal_code,
    upper(country) as country,
    language,
    plan_code,
    tax_exempt,
    created_at,
    closed_at
from {{ ref('raw_accounts') }}
