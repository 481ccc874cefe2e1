"""An elastic program whose ranks tell when they leave, by the machine's clock."""

from __future__ import annotations

import json
import time

from flexmpi import session

leaves = True
try:
    with session() as flex:
        for _ in flex.iterate(100_000_000):
            flex.comm.allreduce(1)
            time.sleep(0.002)
        leaves = False
finally:
    if leaves:
        print(json.dumps({"left": time.time()}), flush=True)
