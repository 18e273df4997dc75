select 1 as month_no
