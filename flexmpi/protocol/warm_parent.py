"""What a node launcher and the warm parent of its ranks agree on: the socket between them, and how much goes into one order."""

from __future__ import annotations

CONTROL = "FLEXMPI_CONTROL"
"""The name of the variable with the number of the socket to the launcher."""
LARGEST_ORDER = 1 << 15
"""In bytes; whatever does not fit is started cold."""
MOST_RANKS = 64
"""In one order, which carries an open file for each."""
