"""What is said: frames from the wearable, messages to the cloud, their topics and codecs.

Everything on both sides of a wire imports from here and nothing here imports from elsewhere in the gateway.
"""

WIRE_VERSION = 1
"""Version of the MQTT topics and messages; the first level of every topic."""
