# syntax=docker/dockerfile:1
# dbt-stripe-sync without dbt: it reads what `dbt build` left in target/, or fetches it from dbt Cloud.
#
#   docker build -t dbt-stripe-sync .
#   docker run --rm -e STRIPE_API_KEY -v "$PWD:/project" dbt-stripe-sync plan
#
# `--build-arg EXTRAS=snowflake` adds a warehouse's driver, `EXTRAS=dbt,demo` dbt itself.
FROM python:3.13-slim-bookworm AS build
ARG EXTRAS=""
WORKDIR /src
RUN python -m venv /opt/venv
COPY pyproject.toml README.md LICENSE ./
COPY dbt_stripe_sync ./dbt_stripe_sync
COPY sample_dbt_project ./sample_dbt_project
RUN /opt/venv/bin/pip install --no-cache-dir ".${EXTRAS:+[${EXTRAS}]}"

FROM python:3.13-slim-bookworm
RUN useradd --create-home --uid 10001 sync \
    && mkdir /project /state \
    && chown sync:sync /project /state
COPY --from=build /opt/venv /opt/venv
ENV PATH="/opt/venv/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    NO_COLOR=1 \
    DBT_PROJECT_DIR=/project
USER 10001
WORKDIR /project
# What was last written to Stripe: keep it, or each run has to look for its objects.
VOLUME /state
# `serve` listens here once it is started with `--host 0.0.0.0`.
EXPOSE 8787
# A sync that is told to stop finishes what is in flight.
STOPSIGNAL SIGTERM
ENTRYPOINT ["dbt-stripe-sync"]
CMD ["run", "--state-path", "/state/state.duckdb"]
