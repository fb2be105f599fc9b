"""What the gateway keeps on disk until the cloud has it."""
