#!/usr/bin/env bash
# The manual's Execute1.sh PROCESSES PORT REPORT_PORT ID: the Jacobi method on one node. More arguments go to the program.
set -eu
: "${4:?expected PROCESSES PORT REPORT_PORT ID, for example: execute1.sh 2 6666 6667 1}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH="$root/.venv/bin:$PATH" exec flexmpi run -n "$1" --listen "$2" --report "$3" --id "$4" --interval 100 --corefile "$root/configuration_files/corefiles/demo1.core" "$root/examples/jacobi.py" --cpu-intensity 100 --io-intensity 70 "${@:5}"
