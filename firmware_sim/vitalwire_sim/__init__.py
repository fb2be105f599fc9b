"""Wearable firmware in software: frames, physiology, faults and scenarios."""
