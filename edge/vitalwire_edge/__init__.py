"""The vitalwire gateway: frames in, scores and alarms out, a durable link to the cloud."""
