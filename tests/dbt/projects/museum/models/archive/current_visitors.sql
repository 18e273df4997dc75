select id, email from {{ ref('visitor_history') }} where dbt_valid_to is null
