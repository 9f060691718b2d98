"""Image data sets: in memory or as folders of photographs, with one `load` and one `prepare`."""
