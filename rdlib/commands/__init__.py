"""The command line's parts, publishing, notebooks, reproduce."""
