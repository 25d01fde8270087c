"""How Tenantry is installed on Kubernetes: manifests and charts rendered, checked, and run by the tests."""
