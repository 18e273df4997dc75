"""`python -m dbt_stripe_sync` is `dbt-stripe-sync`."""

from dbt_stripe_sync.cli import main

if __name__ == "__main__":
    main()
