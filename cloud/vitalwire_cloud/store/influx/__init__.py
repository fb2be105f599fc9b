"""Store backend for InfluxDB: samples as points there, the ledger beside it in an SQL database."""
