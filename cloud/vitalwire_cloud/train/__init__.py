"""Training, export and evaluation of the models."""
