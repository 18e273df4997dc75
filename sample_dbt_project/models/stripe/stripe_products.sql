select plan_code, plan_name, description, unit_label
from {{ ref('stg_plans') }}
where is_sold
