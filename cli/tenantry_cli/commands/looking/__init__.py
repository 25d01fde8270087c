"""Commands that show what is there: tenants, what they do and cost, and whose users they are."""
