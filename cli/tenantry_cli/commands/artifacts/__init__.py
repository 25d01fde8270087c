"""Commands over artifacts and their declarations: publish, check, sign, prune."""
