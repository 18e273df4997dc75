select * from {{ ref('all_closed') }} where id is null
