"""A cluster as values, whatever manages it: nodes, jobs, host lists, a job to be submitted."""
