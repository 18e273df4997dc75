select plan_code, plan_name, description, unit_label, is_sold
from {{ ref('raw_plans') }}
