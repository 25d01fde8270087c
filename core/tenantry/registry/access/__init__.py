"""Who may do what with the registry: namespaces of users, keys of callers, roles of processes."""
