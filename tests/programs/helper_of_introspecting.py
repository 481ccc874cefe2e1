"""What a program imports from its own folder."""

NAME = __name__
