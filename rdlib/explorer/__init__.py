"""The explorer of notebook 11: panels, a file each, and training in the background."""
