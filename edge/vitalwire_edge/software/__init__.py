"""The gateway's own software over the air: signed releases, two slots, and a launcher that falls back by itself.

`launcher` and `slots` need nothing but Python, for they have to work whatever a release breaks. The rest runs in the
agent: a release is fetched and checked as a model is (`ota`), unpacked into the slot that does not run, started on
probation, and confirmed once it is ready, linked, and has heard from the cloud what is committed.
"""
