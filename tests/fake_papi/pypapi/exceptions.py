"""The errors of the fake, in python-papi's words."""

from __future__ import annotations


class PapiError(Exception):
    """Base of all."""

    c_name = ""

    def __init__(self) -> None:
        super().__init__(f"{self.__doc__} ({self.c_name})")


class PapiNoEventError(PapiError):
    """Event does not exist."""

    c_name = "PAPI_ENOEVNT"


class PapiConflictError(PapiError):
    """Event exists, but cannot be counted due to counter resource limitations."""

    c_name = "PAPI_ECNFLCT"


class PapiIsRunningError(PapiError):
    """EventSet is currently counting."""

    c_name = "PAPI_EISRUN"


class PapiNotRunningError(PapiError):
    """EventSet is currently not running."""

    c_name = "PAPI_ENOTRUN"


class PapiNoEventSetError(PapiError):
    """No such EventSet Available."""

    c_name = "PAPI_ENOEVST"
