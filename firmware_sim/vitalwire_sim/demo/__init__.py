"""The whole system on one machine: real commands as processes, a link that is cut, a service that is killed."""
