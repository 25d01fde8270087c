"""What every process of Tenantry needs, whatever it does: loops, threads, logs, files, addresses, waits."""
