{% snapshot guide_history %}
{{ config(strategy='check', unique_key='id', check_cols='all', target_schema='main') }}
select * from {{ ref('guides') }}
{% endsnapshot %}
