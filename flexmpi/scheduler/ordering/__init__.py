"""Orders on their way to jobs, and the journal of them."""
