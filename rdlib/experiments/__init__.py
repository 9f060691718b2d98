"""Profiles, rows, and what each table trains."""
