"""The plots, each returning its Figure or Axes."""
