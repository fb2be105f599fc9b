"""One wearable behind the gateway: its frames in order, its channels, its beats, numbers and alarms."""
