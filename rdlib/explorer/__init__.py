"""The explorer of notebook 12: panels, a file each, and training in the background."""
