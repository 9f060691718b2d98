"""The explorer's panels, one file each."""
