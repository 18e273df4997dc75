{{ config(alias='closed') }}
select * from {{ ref('closed_rooms_2020') }}
