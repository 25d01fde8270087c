"""`kubectl tenantry`: what a person asks of a cluster, with the rights and the context that kubectl has.

Owns: reading by kubectl, and what is shown or packed of it. Refuses: writing anything to the cluster, and
reading the registry or a Secret.
"""
