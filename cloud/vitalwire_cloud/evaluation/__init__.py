"""The protocols by which models and signal code are judged: one file each, one form of report."""
