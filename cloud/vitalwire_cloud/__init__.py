"""The vitalwire cloud service: ingest, store, alarms and the live page."""
