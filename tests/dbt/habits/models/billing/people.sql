select id, email, joined_on, built_in from {{ ref("stg_people") }}
