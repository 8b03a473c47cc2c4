"""A long training that keeps checkpoints: asked to yield, it saves and ends; started again, it goes on from there."""

import argparse

import numpy as np

from fairway import job
from fairway.faces.demo.programs import learning


def main() -> None:
    """Train until ``--steps``, through as many attempts as it takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--pace", type=float, default=0.05)
    parser.add_argument("--checkpoint-every", type=int, default=20)
    asked = parser.parse_args()
    job.should_stop()
    folder, attempt = job.checkpoint_dir(), job.attempt()
    model = learning.load(folder) or learning.fresh()
    print(f"attempt {attempt} begins at step {model.step} of {asked.steps}", flush=True)
    data, pace, begun = learning.examples(), learning.Pace(asked.pace), model.step
    while model.step < asked.steps:
        loss = learning.advance(model, data, attempt)
        stop = job.should_stop()
        checkpoint = stop or model.step % asked.checkpoint_every == 0
        if checkpoint:
            learning.save(model, folder)
            print(f"step {model.step} loss {loss:.4f}", flush=True)
        job.report(step=model.step, total=asked.steps, checkpoint=checkpoint)
        if stop and model.step < asked.steps:
            print(f"asked to yield: saved at step {model.step}", flush=True)
            job.yield_()
        pace.wait()
    inputs, answers = data
    loss, _ = learning.loss_and_gradient(model.weights, inputs, answers)
    result = {"loss": loss, "steps": model.step, "lineage": model.lineage, "own_steps": model.step - begun}
    learning.write_result("train", {**result, "weights": model.weights.tolist()})
    print(f"done: loss {loss:.4f} after {model.step} steps, {model.step - begun} of them in this attempt", flush=True)


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
