{{ config(materialized='incremental', unique_key='id', tags=['weekly']) }}
select * from {{ ref('raw_shops') }}
