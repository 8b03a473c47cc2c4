"""How fast the durable store is here: ``python -m bench.store [--json]``. Every figure is a median of several rounds.

What is promised is durability, so the disk's own speed of making one small write safe is printed beside it.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from fairway.adapters.stores.inbox import Entry, Inbox
from fairway.adapters.stores.sqlite import SqliteStore
from fairway.model.facts import AttemptEnded, AttemptStarted, Fact, Facts, JobSubmitted, Outcome
from fairway.model.ids import AttemptId, ExecutorId, JobId, QueueId
from fairway.model.job import Job, Role
from fairway.model.phases import Cause
from fairway.model.resources import Request
from fairway.model.time import Instant
from fairway.state.frames import decode, encode

ROUNDS = 5


def rate(count: int, work: Callable[[], object]) -> float:
    """Things per second: the median over ``ROUNDS`` of doing ``count`` of them."""
    rates: list[float] = []
    for _ in range(ROUNDS):
        start = perf_counter()
        work()
        rates.append(count / (perf_counter() - start))
    return statistics.median(rates)


def started(number: int) -> Fact:
    """A small fact."""
    return AttemptStarted(AttemptId(JobId(f"train-{number}"), 1), ExecutorId("local"), number, Instant(990))


def ended(number: int) -> Fact:
    """The most frequent one."""
    outcome = Outcome(Cause.SUCCEEDED, 0)
    return AttemptEnded(AttemptId(JobId(f"train-{number}"), 1), ExecutorId("local"), number, Instant(990), outcome)


def submitted(number: int) -> Fact:
    """The largest common one."""
    roles = (Role(request=Request(cpu_milli=4_000, memory_mib=16_000, gpus=1)),)
    job = Job(
        JobId(f"train-{number}"), "train", QueueId("lab/vision"), roles, user="ada", command=("python", "train.py")
    )
    return JobSubmitted(job)


def codec(results: dict[str, float]) -> None:
    """Facts encoded and decoded, one to a frame and fifty to a frame."""
    for name, make, size in (
        ("started", started, 1),
        ("ended", ended, 1),
        ("submitted", submitted, 1),
        ("ended", ended, 50),
    ):
        batches = [Facts(Instant(i), tuple(make(i * size + k) for k in range(size))) for i in range(10_000 // size)]
        frames = [encode(batch) for batch in batches]
        label = f"{name}_x{size}"
        results[f"encode_{label}_per_s"] = rate(10_000, lambda batches=batches: [encode(batch) for batch in batches])
        results[f"decode_{label}_per_s"] = rate(10_000, lambda frames=frames: [decode(frame) for frame in frames])


def journal(folder: Path, results: dict[str, float]) -> None:
    """Commits of one frame and of fifty, and how fast a tail is read back."""
    with SqliteStore.open(folder / "fairway.db") as store:

        def commits(frames: int, count: int) -> None:
            for _ in range(count):
                for number in range(frames):
                    store.append(Facts(Instant(number), (ended(number),)))
                store.commit()

        results["commits_of_1_frame_per_s"] = rate(500, lambda: commits(1, 500))
        results["commits_of_50_frames_per_s"] = rate(200, lambda: commits(50, 200))
        results["tail_frames_per_s"] = rate(store.last, lambda: sum(1 for _ in store.tail(0)))


def inbox(folder: Path, results: dict[str, float]) -> None:
    """Submissions put one after another, by several threads, by many coroutines, and in batches."""
    body = encode(Facts(Instant(0), (submitted(1),)))
    tokens = iter(range(1 << 30))
    with Inbox(folder / "fairway.db") as box:

        def one(_: int = 0) -> None:
            box.put(f"t{next(tokens)}", body)

        async def coroutines(count: int) -> None:
            await asyncio.gather(*[box.put_async([Entry(f"t{next(tokens)}", body)]) for _ in range(count)])

        def batches(count: int, size: int) -> None:
            for _ in range(count):
                box.put_many([Entry(f"t{next(tokens)}", body) for _ in range(size)])

        results["puts_one_by_one_per_s"] = rate(300, lambda: [one() for _ in range(300)])
        with ThreadPoolExecutor(16) as pool:
            results["puts_16_threads_per_s"] = rate(2_000, lambda: list(pool.map(one, range(2_000))))
        results["puts_1000_coroutines_per_s"] = rate(1_000, lambda: asyncio.run(coroutines(1_000)))
        results["puts_batches_of_100_per_s"] = rate(5_000, lambda: batches(50, 100))
        results["puts_one_body_bytes"] = len(body)


def disk(folder: Path, results: dict[str, float]) -> None:
    """What the file system takes to make 4 KiB safe."""
    with (folder / "raw").open("wb", buffering=0) as file:

        def write() -> None:
            for _ in range(200):
                file.write(bytes(4096))
                os.fdatasync(file.fileno())

        results["disk_syncs_per_s"] = rate(200, write)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    arguments = parser.parse_args(argv)
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        disk(Path(folder), results)
        codec(results)
        journal(Path(folder), results)
        inbox(Path(folder), results)
    rounded = {name: round(value) for name, value in results.items()}
    if arguments.json:
        print(json.dumps(rounded))
    else:
        for name, value in rounded.items():
            print(f"{name:32}{value:>12,}")


if __name__ == "__main__":
    main()
