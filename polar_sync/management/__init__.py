"""How an operator runs the mirror."""
