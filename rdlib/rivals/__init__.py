"""Other ways to lose the shortcut, one file each, and the register of all methods."""
