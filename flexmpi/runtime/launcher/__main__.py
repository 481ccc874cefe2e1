"""``python -m flexmpi.runtime.launcher``: a node launcher."""

from flexmpi.runtime.launcher.launcher import main

main()
