"""What every vitalwire process shares: configuration, logs, health and a clean end."""
