"""What runs in each MPI process: the session, agreement points, what is measured between them."""
