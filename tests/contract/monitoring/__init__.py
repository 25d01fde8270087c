"""What is watched of a fleet: alerts and the dashboard."""
