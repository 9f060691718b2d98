"""Competing ways to lose the shortcut, or what it costs: one file each."""
