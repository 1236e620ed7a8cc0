"""Studies: named grids of training runs over seeds, what they could have seen, and one page of what they saw."""
