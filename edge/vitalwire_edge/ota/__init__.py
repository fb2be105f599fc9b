"""Models over the air, the gateway's side.

An offer names an artifact; the gateway fetches what it lacks of it chunk by chunk onto disk, opens and tests it, swaps
it in between two beats, watches it on probation beside what the model before it did, and confirms it or goes back to
the last confirmed one. Every step is on disk before it is taken, so a kill or a power cut at any moment leaves a
gateway that runs a model it had reason to run.
"""
