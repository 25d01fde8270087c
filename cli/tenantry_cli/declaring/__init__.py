"""What is done around a declaration: apply it, wait for it, check it, remove artifacts that none names.

Owns the use of a cluster by `tenantry publish`, the wait, and the judgement of manifests and of artifacts
that nothing names. Refuses to train, to store a model, and to serve.
"""
