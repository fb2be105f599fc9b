"""From a wearable's clock to the gateway's to UTC. Intervals are always monotonic."""
