"""Recordings on disk: fetched, described, converted."""
