"""How a gateway becomes one of a site's: what is exchanged in files, the gateway's own keys, and its certificate."""
