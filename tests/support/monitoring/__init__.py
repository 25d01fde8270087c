"""What Prometheus and Grafana see of the product: its series, and Prometheus' own checks of expressions."""
