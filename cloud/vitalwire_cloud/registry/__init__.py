"""The models a fleet runs: what was published, who may run it, who does, and the gate before a signature.

A candidate passes the gate on patients it did not learn from, is signed, goes to a few gateways and then to all.
Gateways fetch it themselves and report; a report that speaks against a model stops it.
"""
