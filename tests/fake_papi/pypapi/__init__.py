"""A fake of python-papi: see ``papi_low``."""
