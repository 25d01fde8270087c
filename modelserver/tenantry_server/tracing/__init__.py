"""Server spans: a sampled request from its arrival to its answer; `tenantry.tracing` has the rest."""
