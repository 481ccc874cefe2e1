"""One process a node: starts ranks and watches them."""
