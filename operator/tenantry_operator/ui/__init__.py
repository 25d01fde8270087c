"""The page of the fleet at /ui: tenants, servers, a prediction to try.

Owns: what people see of the registry, who may see it, and the one request that the page sends to a server
for them. It reads the registry by itself, and knows nothing of the loop beside it. Refuses: changes of any
kind, addresses that the registry does not name, and text that is not escaped by `templating`.
"""
