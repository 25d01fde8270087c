"""Kernels of series: what the serving process itself answers forecasts with.

Owns tables of forecasts, rules by which they go on, calendars of equal steps, and their form on the wire.
Refuses calendars that need pandas: those requests are the original's.
"""
