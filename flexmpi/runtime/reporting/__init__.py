"""What people and programs are shown of a job: the manual's lines, events, output."""
