"""Generative models, in torch."""
