"""What a Ray cluster costs per chunk and at its start, and how many workers one driver feeds.

Workers only sleep, so that hundreds of them fit a small computer. Run it where Ray's cluster may
be: RAY_ADDRESS=HOST:PORT python -m benchmarks.runtime --workers 16 --seconds 0.25
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from statistics import median

from curator.base.values import ImageFile
from curator.runtime.runtime import LocalRuntime, Runtime, open_runtime
from curator.settings.sections import RuntimeSettings


def _sleep(seconds: float, chunk: list[ImageFile]) -> tuple[float, bytes]:
    """Sleep, and give as many bytes as the features of the chunk have."""
    time.sleep(seconds)
    return seconds, bytes(512 * 4 * len(chunk))


def _open(seconds: float, threads: int) -> float:
    return seconds


def feed(runtime: Runtime, seconds: float, chunks: int, images: int) -> dict[str, float]:
    """Map so many chunks; the first round of chunks, in which workers start, is not counted."""
    files = [
        ImageFile(
            image_id=n, sha256=bytes(32), path=b"/data/images/%09d.jpg" % n, size=1, mtime_ns=1
        )
        for n in range(images)
    ]
    warm = 2 * runtime.workers
    begun = time.perf_counter()
    results = runtime.map(
        partial(_open, seconds),
        _sleep,
        (files for _ in range(warm + chunks)),
        lambda file, why: (0.0, b""),
    )
    for _ in range(warm):
        next(results)
    started, processor = time.perf_counter(), time.process_time()
    gaps, before = [], started
    for _ in results:
        now = time.perf_counter()
        gaps.append(now - before)
        before = now
    elapsed = before - started
    return {
        "workers": runtime.workers,
        "chunks": chunks,
        "start_seconds": round(started - begun, 2),
        "chunks_per_second": round(chunks / elapsed, 2),
        "images_per_second": round(chunks * images / elapsed),
        "busy": round(chunks * seconds / (elapsed * runtime.workers), 3),
        "driver_milliseconds_per_chunk": round(
            1_000 * (time.process_time() - processor) / chunks, 3
        ),
        "median_gap_milliseconds": round(1_000 * median(gaps), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--chunks", type=int, default=200)
    parser.add_argument("--images", type=int, default=512)
    chosen = parser.parse_args()
    here = feed(LocalRuntime(chosen.workers), chosen.seconds, chosen.chunks, chosen.images)
    print(json.dumps({"threads": here}))
    settings = RuntimeSettings(engine="ray", workers=chosen.workers)
    begun = time.perf_counter()
    with open_runtime(settings, chosen.workers) as runtime:
        connected = round(time.perf_counter() - begun, 2)
        there = feed(runtime, chosen.seconds, chosen.chunks, chosen.images)
    print(json.dumps({"ray": there, "connect_seconds": connected, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
