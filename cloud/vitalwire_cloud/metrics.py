"""What the cloud service counts, for `/metrics`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

RECEIVED: Final = Counter("vitalwire_ingest_received", "Messages that arrived from the broker", ["verb"])
STORED: Final = Counter("vitalwire_ingest_stored", "Messages that are durably stored", ["stream"])
DUPLICATES: Final = Counter("vitalwire_ingest_duplicates", "Messages that the store already had")
CONFLICTS: Final = Counter("vitalwire_ingest_conflicts", "Messages at a time that another one already holds")
QUARANTINED: Final = Counter("vitalwire_ingest_quarantined", "Messages set aside")
DROPPED: Final = Counter("vitalwire_ingest_dropped", "Messages thrown away unread", ["reason"])
STORE_FAILURES: Final = Counter("vitalwire_ingest_store_failures", "Batches the store could not take at once")
COMMITS: Final = Counter("vitalwire_ingest_commits_published", "Messages that told a gateway what is stored")
KEYLESS: Final = Gauge("vitalwire_ingest_gateways_without_key", "Gateways that cannot be told what is stored")
REBIRTHS: Final = Counter("vitalwire_ingest_rebirths_asked", "Gateways asked to say their births again")
QUEUE: Final = Gauge("vitalwire_ingest_queue_messages", "Messages between broker and store")
CONNECTED: Final = Gauge("vitalwire_ingest_connected", "1 while connected to the broker")
LATENCY_S: Final = Histogram(
    "vitalwire_sample_to_store_seconds",
    "From the last sample of a live block to its place in the store",
    buckets=(0.25, 0.5, 1, 2, 4, 8, 16, 60, 600),
)
ALARM_CHANGES: Final = Counter("vitalwire_alarm_transitions", "Changes of alarms", ["event"])
ESCALATIONS: Final = Counter("vitalwire_alarm_escalations", "High alarms that nobody acknowledged in time")
GATEWAY_TWICE: Final = Counter(
    "vitalwire_gateway_twice", "Times a gateway was heard again after another one of its name", ["gateway"]
)
DESK_FAILURES: Final = Counter(
    "vitalwire_alarm_desk_failures", "Rounds in which the desk could not keep its alarms"
)
