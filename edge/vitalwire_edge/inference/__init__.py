"""Generative models on the gateway: signed artifacts, their runtime, the beat model and its calibration."""
