select
    account_id,
    company,
    email,
    street,
    city,
    postal_code,
    country,
    language,
    plan_code,
    tax_exempt,
    created_at as customer_since
from {{ ref('stg_accounts') }}
where closed_at is null
