"""How fast training is: against the straightforward way, against the arithmetic's floor, and as it grows."""
