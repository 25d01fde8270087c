"""Clients, proxies and firewalls on the loopback interface."""
