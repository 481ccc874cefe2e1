"""`python -m flexmpi.cli` is the `flexmpi` command."""

from flexmpi.cli.main import main

main()
