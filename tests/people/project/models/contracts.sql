select contract_no, member_no, starts_on
from {{ source('raw', 'contracts') }}
where not cancelled and member_no in (select member_no from {{ ref('members') }})
