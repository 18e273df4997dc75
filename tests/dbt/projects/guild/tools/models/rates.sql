select 'eur' as code, 1.0 as rate
