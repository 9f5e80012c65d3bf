"""Progress of long work: a bar on a terminal, nothing elsewhere."""

import sys
from collections.abc import Callable
from contextlib import ExitStack

Tell = Callable[[str, int, int, str], None]  # step, done, of, detail


def progress_teller(stack: ExitStack) -> Tell:
    """A function that shows how far each step is, until the stack is left."""
    if not sys.stderr.isatty():
        return lambda step, done, of, detail: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = stack.enter_context(Progress(*columns, TextColumn("{task.fields[detail]}"), console=Console(stderr=True)))
    tasks: dict[str, TaskID] = {}

    def tell(step: str, done: int, of: int, detail: str) -> None:
        if step not in tasks:
            tasks[step] = bars.add_task(step, total=of, detail="")
        bars.update(tasks[step], completed=done, total=of, detail=detail)

    return tell
