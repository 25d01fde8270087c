"""How fast the model server answers, beside the servers that people would use instead."""
