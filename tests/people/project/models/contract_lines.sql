select * from {{ source('raw', 'contract_lines') }}
