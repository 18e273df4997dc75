select distinct metric, 'Brightdesk ' || metric as title
from {{ ref('stg_usage') }}
