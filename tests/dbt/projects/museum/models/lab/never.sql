{{ config(full_refresh=false, docs={'show': false}) }}
select * from {{ ref('results') }}, {{ ref('current_visitors') }}
