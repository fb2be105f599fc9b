"""Streaming signal processing: the same code runs on the gateway and feeds training."""
