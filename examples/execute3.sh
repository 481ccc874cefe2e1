#!/usr/bin/env bash
# The manual's Execute3.sh PROCESSES PORT REPORT_PORT ID: the Jacobi method on four nodes. More arguments go to the program.
set -eu
: "${4:?expected PROCESSES PORT REPORT_PORT ID, for example: execute3.sh 2 6666 6667 1}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH="$root/.venv/bin:$PATH" exec flexmpi run -n "$1" --listen "$2" --report "$3" --id "$4" --interval 100 --corefile "$root/configuration_files/corefiles/demo2.core" "$root/examples/jacobi.py" --cpu-intensity 100 --io-intensity 70 "${@:5}"
