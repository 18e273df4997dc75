select 'basic' as code, 'Basic' as name
