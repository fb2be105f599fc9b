"""`python -m vitalwire_edge` is the `vitalwire` command, also where no script was installed."""

from vitalwire_edge.cli import main

main()
