select m.id, 5 as cents from {{ ref('members') }} m
