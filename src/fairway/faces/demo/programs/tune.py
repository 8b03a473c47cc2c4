"""One trial of a search for a learning rate: trains for a while, and leaves its loss."""

import argparse

from fairway import job
from fairway.faces.demo.programs import learning


def main() -> None:
    """Train with ``--rate``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--pace", type=float, default=0.04)
    asked = parser.parse_args()
    model, data, pace = learning.fresh(), learning.examples(), learning.Pace(asked.pace)
    while model.step < asked.steps:
        learning.advance(model, data, attempt=1, rate=asked.rate)
        job.report(step=model.step, total=asked.steps)
        pace.wait()
    loss, _ = learning.loss_and_gradient(model.weights, *data)
    learning.write_result(asked.name, {"rate": asked.rate, "loss": loss})
    print(f"rate {asked.rate:g}: loss {loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
