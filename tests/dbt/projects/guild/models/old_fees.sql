select m.id, 4 as cents from {{ ref('members', v=1) }} m
