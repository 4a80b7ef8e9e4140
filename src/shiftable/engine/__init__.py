"""Work units → shards → resume. Knows nothing of images, models or audits."""

from shiftable.engine.batches import in_batches
from shiftable.engine.memory import keep_freed_memory
from shiftable.engine.shards import run_shards, write_atomically

__all__ = ["in_batches", "keep_freed_memory", "run_shards", "write_atomically"]
