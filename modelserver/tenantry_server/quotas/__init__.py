"""How much each user may be asked for: rates, requests under way, rows.

Owns the counting, this server's share of what a fleet allows, and the order in which users get what is
scarce. Refuses HTTP, and to know where limits are declared.
"""
