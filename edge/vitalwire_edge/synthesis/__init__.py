"""Synthetic ECG: rhythms, strips composed of generated beats, and files that say that they are synthetic."""
