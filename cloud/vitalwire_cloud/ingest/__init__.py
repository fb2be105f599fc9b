"""From the broker to the store: receive, check, write, acknowledge, and tell the gateway what is stored."""
