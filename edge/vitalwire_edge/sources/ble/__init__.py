"""Wearables that speak Bluetooth LE: the standard health services, and Polar's ECG stream."""
