"""The conversation of a job with the cluster agent."""
