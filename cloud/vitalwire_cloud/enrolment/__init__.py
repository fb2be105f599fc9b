"""The authority of a site: who may be a gateway, its certificates, and their end."""
