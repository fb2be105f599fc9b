"""Alarms as staff sees them: state after IEC 60601-1-8, acknowledgement, and the cloud's own technical alarms."""
