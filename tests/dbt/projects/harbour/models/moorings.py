def model(dbt, session):
    dbt.config(materialized="table", tags=["Python"])
    return dbt.ref("berths")
