"""Statistics, verdicts and tables: what the records say about the paper."""
