"""Lists of tasks that survive interruptions: in turn, in processes, as shards, on dask; and time series."""

from typing import TYPE_CHECKING

from unclouded._lazy import lazy_names

if TYPE_CHECKING:
    from unclouded.batch.executors import (
        Shard as Shard,
    )
    from unclouded.batch.executors import (
        in_processes as in_processes,
    )
    from unclouded.batch.executors import (
        on_dask as on_dask,
    )
    from unclouded.batch.executors import (
        run_tasks as run_tasks,
    )
    from unclouded.batch.executors import (
        serially as serially,
    )
    from unclouded.batch.series import predict_series as predict_series
    from unclouded.batch.series_dataset import open_series as open_series
    from unclouded.batch.tasks import Task as Task
    from unclouded.batch.tasks import TaskLedger as TaskLedger

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "executors": (
            "Shard",
            "in_processes",
            "on_dask",
            "run_tasks",
            "serially",
        ),
        "series": ("predict_series",),
        "series_dataset": ("open_series",),
        "tasks": (
            "Task",
            "TaskLedger",
        ),
    },
)
