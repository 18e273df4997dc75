{{ config(enabled=false, meta={'stripe_sync': {'resource': 'customer', 'key': 'id'}}) }}
select 1 as id
