select 1 as id, 'Cem' as name
