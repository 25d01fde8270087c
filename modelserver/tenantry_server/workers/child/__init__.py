"""The other end of the wire: the zygote, and the workers that it forks, which run tenants' code."""
