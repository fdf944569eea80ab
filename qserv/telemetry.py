"""Structured log lines that carry the query id across czar and workers."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import structlog

__all__ = ["configure", "logger", "query_context", "query_of"]

_NOTE: Final = "while answering query "

_SHARED: Final[tuple[structlog.typing.Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(
    process: str,
    *,
    level: str = "info",
    format: Literal["console", "json"] = "console",  # noqa: A002 as the settings say
) -> None:
    """Send the log lines of this process to standard error.

    Parameters
    ----------
    process
        Who writes, such as ``"czar"`` or ``"worker 2"``; a field of every line.
    level
        The least severe lines to write: debug, info, warning or error.
    format
        Lines for people (console) or one JSON object a line (json).
    """

    def sign(_logger: Any, _method: str, event: Any) -> Any:
        return {"process": process, **event}

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                sign,
                *_renderers(format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("qserv").setLevel(level.upper())


def _renderers(
    style: Literal["console", "json"],
) -> tuple[structlog.typing.Processor, ...]:
    match style:
        case "json":
            return (
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=str),
            )
        case "console":
            return (structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module.

    Parameters
    ----------
    name
        The module's ``__name__``.
    """
    bound: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
    )
    return bound


@contextmanager
def query_context(query_id: str) -> Iterator[None]:
    """Add a query's id to every log line, and to any error, of the block.

    Parameters
    ----------
    query_id
        As the czar made it.
    """
    with structlog.contextvars.bound_contextvars(query_id=query_id):
        try:
            yield
        except Exception as error:
            error.add_note(_NOTE + query_id)
            raise


def query_of(error: BaseException) -> str:
    """Return the id of the query in whose context an error arose; empty if in none."""
    notes = getattr(error, "__notes__", ())
    return next((n[len(_NOTE) :] for n in notes if n.startswith(_NOTE)), "")
