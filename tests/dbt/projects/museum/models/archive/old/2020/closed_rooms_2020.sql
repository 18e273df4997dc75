{{ config(materialized='ephemeral') }}
select * from {{ ref('closed_rooms') }}
