"""Grafana dashboards as code: written as files for provisioning, or pushed to a server."""
