"""What networks and servers do to some of the calls that pass a gate, drawn by a seed and counted.

    gate = Gate(9303, settings.tryton_url(), faults=Faults(seed=1))
    ...
    gate.faults.calm()                  # from here on everything passes
    gate.faults.counts                  # {"refused": 7, "dropped": 2, ...}
"""

import collections
import random
import threading
import time

REFUSED = "refused"  # 503, nothing was done
THROTTLED = "throttled"  # 429 with Retry-After
CUT = "cut"  # the connection ends before the call is sent on
LATE = "late"  # sent on seconds later, also when nobody waits for it any more
DROPPED = "dropped"  # done, and the answer is lost

SHARES = {REFUSED: 0.02, THROTTLED: 0.01, CUT: 0.01, LATE: 0.02, DROPPED: 0.01}
LATE_SECS = (0.5, 3.5)  # less than the `http.late_secs` that the daemon is told (daemon.py)


class Faults:
    def __init__(self, seed):
        self._dice, self._lock, self._calm = random.Random(seed), threading.Lock(), False
        self.counts = collections.Counter()

    def calm(self):
        self._calm = True

    def draw(self):
        """The fault of the next call, if it has one."""
        with self._lock:
            at, kinds = self._dice.random(), iter(SHARES.items())
            if self._calm:
                return None
            for kind, share in kinds:
                if at < share:
                    self.counts[kind] += 1
                    return kind
                at -= share
            return None

    def delay(self):
        with self._lock:
            secs = self._dice.uniform(*LATE_SECS)
        time.sleep(secs)
