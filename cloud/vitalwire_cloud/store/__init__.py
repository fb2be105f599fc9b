"""Time series and the ledger of what is committed: one interface, an embedded default."""
