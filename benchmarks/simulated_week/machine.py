"""A chip, its heat sink and its own throttling, in simulated time: the two-node model behind the simulated week.

    C1 dT1/dt = P - (T1 - T2) / R1                    die
    C2 dT2/dt = (T1 - T2) / R1 - (T2 - T_ambient) / R2      heat sink

Figures: C1 8 J/K, R1 1.0 K/W (time constant 8 s); C2 250 J/K, R2 1.3 K/W at least fan, 0.7 at full (325 and 175 s);
idle 2.5 W. The fan begins at 95 °C and is full at 105 °C. They are fitted to scattered published points of a base M4
mini and are swept widely, because no published curve of its throttling was found. Clock and power: P_dynamic ~ f^2
(1.62 GHz at 50 W, 1.05 to 1.23 at 21 to 28 W, 0.54 at 7.9 W were seen on one chip). Leakage adds 0.3 % of the dynamic
power a degree above 60 °C (an assumption). What a smaller micro-batch changes is not known of this chip, so it is set
by place (`Batching`): by default it hardly lowers power and makes samples dearer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

DIE_J_K = 8.0
DIE_K_W = 1.0
SINK_J_K = 250.0
SINK_K_W = 1.3
SINK_K_W_FULL_FAN = 0.7
IDLE_W = 2.5
LEAK_PER_K = 0.003
LEAST_CLOCK = 0.2
CLIFF_S = 120.0
CLIFF_CLOCK = 0.2
"""After a cliff the chip does a fifth of the work, for two minutes ("draws 30 W, then drops to 1 W for 2 minutes")."""


@dataclass(frozen=True, slots=True)
class Batching:
    """What each halving of the micro-batch changes, as shares of power and of work."""

    saves_power: float = 0.02
    costs_work: float = 0.04
    """More calls for the same samples: caches, launches."""

    def power(self, halvings: float) -> float:
        """Return the factor on a job's power."""
        return (1.0 - self.saves_power) ** halvings

    def work(self, halvings: float) -> float:
        """Return the factor on the work that gets done at the same clock."""
        return (1.0 - self.costs_work) ** halvings


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is swept about the machine."""

    ambient_c: float = 25.0
    resistance: float = 1.0
    """Factor on the heat sink's resistance: dust, a shelf, an enclosure."""
    fan: bool = True
    limit_c: float = 105.0
    """Where the chip begins to throttle."""
    cliff: bool = False
    """It falls to a fifth of its speed for two minutes, instead of throttling just as far as needed."""
    batching: Batching = Batching()


@cache
def _settled_share(dt_s: float) -> float:
    return 1.0 - math.exp(-dt_s / (DIE_J_K * DIE_K_W))


class Machine:
    """Temperatures now, and the clock the chip allows itself."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.die_c = self.sink_c = around.ambient_c + 6.0
        self.clock = 1.0
        self._cliff_until_s = -1.0

    def step(self, now_s: float, dt_s: float, power_w: float, duty: float) -> float:
        """Simulate *dt_s* seconds and return the work done in them, in seconds of the cold machine.

        Args:
            now_s: simulated time.
            dt_s: length of the step; well below the heat sink's time constant.
            power_w: what the job draws at full clock, above idle.
            duty: share of the time it works.
        """
        dynamic_w = power_w * (1.0 + LEAK_PER_K * max(0.0, self.die_c - 60.0))
        self.clock = self._clock(now_s, dynamic_w * duty)
        drawn_w = IDLE_W + dynamic_w * duty * self.clock**2
        settled_c = self.sink_c + drawn_w * DIE_K_W
        flow_w = (self.die_c - self.sink_c) / DIE_K_W
        self.die_c += (settled_c - self.die_c) * _settled_share(dt_s)
        lost_w = (self.sink_c - self.around.ambient_c) / self._sink_k_w()
        self.sink_c += (flow_w - lost_w) * dt_s / SINK_J_K
        return dt_s * duty * self.clock

    def _clock(self, now_s: float, dynamic_w: float) -> float:
        """Return the clock, as a share of the full one, with which the die stays at its limit."""
        if dynamic_w <= 0.0:
            return 1.0
        if self.around.cliff:
            if self.die_c >= self.around.limit_c - 0.5 and now_s >= self._cliff_until_s:
                self._cliff_until_s = now_s + CLIFF_S
            return CLIFF_CLOCK if now_s < self._cliff_until_s else 1.0
        allowed_w = (self.around.limit_c - self.sink_c) / DIE_K_W - IDLE_W
        return min(1.0, max(LEAST_CLOCK, math.sqrt(max(0.0, allowed_w) / dynamic_w)))

    def _sink_k_w(self) -> float:
        blow = min(1.0, max(0.0, (self.die_c - 95.0) / 10.0)) if self.around.fan else 0.0
        return self.around.resistance * (SINK_K_W + (SINK_K_W_FULL_FAN - SINK_K_W) * blow)
