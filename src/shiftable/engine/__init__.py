"""Work units → shards → resume. Knows nothing of images, models or audits."""

from shiftable.engine.batches import in_batches
from shiftable.engine.shards import run_shards, write_atomically

__all__ = ["in_batches", "run_shards", "write_atomically"]
