"""Kernels of series: what the serving process itself answers forecasts with.

Owns tables of forecasts and their form on the wire. Refuses calendars: the labels of steps are texts here.
"""
