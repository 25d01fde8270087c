"""Workers: the processes that run tenants' code, and the wire to them.

Owns the zygote that forks workers, the pool of them, what front and worker say to each other, and the
sandbox. Refuses to know users, HTTP and where artifacts come from.
"""
