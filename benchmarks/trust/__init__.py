"""What trust costs."""
