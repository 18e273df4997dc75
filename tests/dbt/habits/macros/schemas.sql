{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ target.name }}{{ "__" ~ custom_schema_name if custom_schema_name is not none }}
{%- endmacro %}
