select month_no as quarter_no from {{ ref('months') }}
