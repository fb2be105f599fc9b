"""From the spool to the broker: what goes next, over which connection, and when to try again."""
