"""Tables for `tenantry score`: read in pieces, written in parts, and put together at the end.

Owns files and objects, what is done already, and the report. Refuses to know servers, which
`tenantry.scoring` asks.
"""
