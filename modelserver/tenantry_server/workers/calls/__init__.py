"""What a server asks of a worker: to predict, to read a table, to verify a signature."""
