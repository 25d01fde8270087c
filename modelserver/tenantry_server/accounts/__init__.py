"""What each tenant does to this server: requests, errors, CPU, latency and memory, in bounded tables.

Owns: counting by user, choosing the few that are shown, and the hourly writes of costs. Refuses: judging
requests (see `quotas`), and names that no TenantModel has: nobody can fill the tables by inventing users.

For readers of the numbers: `GET /tenants/top` (`protocols.tenants`) shows them, `exported` gives the first
of them to Prometheus, and `Accounts.heaviest` and `Accounts.of_user` are what both ask.
"""
