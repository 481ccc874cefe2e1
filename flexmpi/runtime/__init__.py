"""What runs inside a job: the session of a rank, and the processes that start and watch the ranks."""
