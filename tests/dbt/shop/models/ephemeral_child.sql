{{ config(materialized='ephemeral') }}
select id from {{ ref('ephemeral_parent') }} -- the last word
