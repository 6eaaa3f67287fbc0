"""`python -m jobs.keras_check`: check that this Python can train Keras nets. Prints one JSON object, or the reason last.

Run by `cbi-queue runtime install` and `runtime check` on a runtime's Python: it imports what a trainer imports and takes
one step of a small recurrent net on every device that TensorFlow shows.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from cbi_queue.regular_files import failure_of
from jobs.trainer import BrokenRuntime


def main() -> int:
    """Check everything once; return the exit status."""
    try:
        print(json.dumps(_findings()))
    except Exception as exc:  # noqa: BLE001 - whatever a library raises is the reason
        print(exc if isinstance(exc, BrokenRuntime) else f"{failure_of(exc):.300}", file=sys.stderr)
        return 1
    return 0


def _findings() -> dict[str, object]:
    import numpy as np

    import jobs.session  # noqa: F401 - what every trainer imports
    from jobs.families.keras_nets import recurrent_stages
    from jobs.keras_backend.device import keras, tf

    devices = [device.name for device in tf.config.list_logical_devices()]
    for device in devices:
        with tf.device(device):
            net = keras.Sequential([keras.Input((4, 2)), *recurrent_stages("lstm", 1, 3, 0.0)])
            net.compile(optimizer="adam", loss="mse", jit_compile=False)
            loss = float(net.train_on_batch(np.ones((8, 4, 2), np.float32), np.zeros((8, 1), np.float32)))
            if not np.isfinite(loss):
                msg = f"the loss of a small LSTM on {device} is {loss}, which is not a finite number"
                raise BrokenRuntime(msg)
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "devices": devices,
        "cbi_queue": version("cbi-queue"),
        "python": sys.version.split()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
