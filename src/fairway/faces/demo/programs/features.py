"""A batch job without a GPU: turns texts into hashed counts. With ``--fail-first`` its first attempt breaks off."""

import argparse
import zlib

import numpy as np

from fairway import job
from fairway.faces.demo.programs import learning

WORDS, BUCKETS = 400, 1024


def main() -> None:
    """Count the words of ``--texts`` texts, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--pace", type=float, default=0.04)
    parser.add_argument("--fail-first", action="store_true")
    asked = parser.parse_args()
    rng, pace = np.random.default_rng([learning.SEED, 4]), learning.Pace(asked.pace)
    counts = np.zeros(BUCKETS, np.int64)
    for text in range(asked.texts):
        if asked.fail_first and job.attempt() == 1 and text == asked.texts // 3:
            raise SystemExit(f"text {text} cannot be read: the share is away for a moment")
        words = rng.zipf(1.5, WORDS).tolist()
        np.add.at(counts, [zlib.crc32(str(word).encode()) % BUCKETS for word in words], 1)
        job.report(step=text + 1, total=asked.texts)
        pace.wait()
    result = {"texts": asked.texts, "words": int(counts.sum()), "used": int(np.count_nonzero(counts))}
    learning.write_result(asked.name, {**result, "attempt": job.attempt()})
    print(f"{asked.texts} texts, {counts.sum()} words in {np.count_nonzero(counts)} buckets", flush=True)


if __name__ == "__main__":
    main()
