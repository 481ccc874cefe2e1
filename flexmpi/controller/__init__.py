"""The controller: starts several applications, shows what they report and passes commands on to them.

An application is a child process, `flexmpi run`; the controller speaks with it by UDP alone.
"""
