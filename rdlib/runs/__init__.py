"""A run as a value, its record, and how runs are carried out, one or many."""
