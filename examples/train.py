"""The smallest training that survives being preempted: it saves, says so, and goes on from what it saved.

It fits a line to points, in plain Python. `fairway.job` is all that it needs of Fairway, and it runs without it too.
"""

import argparse
import json
import os
import random
import time

from fairway import job

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--rate", type=float, default=0.1)
parser.add_argument("--pause", type=float, default=0.02)
asked = parser.parse_args()

job.should_stop()  # listen from the beginning
saved = job.checkpoint_dir() / "model.json"
model = json.loads(saved.read_text()) if saved.exists() else {"step": 0, "slope": 0.0, "offset": 0.0}
print(f"attempt {job.attempt()} begins at step {model['step']}", flush=True)


def save() -> None:
    """A checkpoint is there as a whole or not at all."""
    partial = saved.with_suffix(".new")
    partial.write_text(json.dumps(model))
    os.replace(partial, saved)


while model["step"] < asked.steps:
    rng = random.Random(model["step"])
    x = rng.uniform(-1, 1)
    error = model["slope"] * x + model["offset"] - (3 * x + 1 + rng.gauss(0, 0.1))
    model["slope"] -= asked.rate * error * x
    model["offset"] -= asked.rate * error
    model["step"] += 1
    stop = job.should_stop()
    checkpoint = stop or model["step"] % 25 == 0
    if checkpoint:
        save()
    job.report(step=model["step"], total=asked.steps, checkpoint=checkpoint)
    if stop and model["step"] < asked.steps:
        job.yield_()
    time.sleep(asked.pause)

print(f"y = {model['slope']:.2f} x + {model['offset']:.2f} after {model['step']} steps")
