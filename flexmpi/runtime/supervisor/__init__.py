"""One process a job, `flexmpi run`: the owner of its ranks, its commands and its end."""
