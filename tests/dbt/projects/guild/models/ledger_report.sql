{{ config(group='office', access='protected') }}
select * from {{ ref('audit') }}
