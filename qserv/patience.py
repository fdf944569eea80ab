"""How long qserv waits for what may come back, and how often it asks again.

All that is asked again is asked by one of these policies. Each raises what the last try
raised. Waiting for the next look at something is no retry.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    retry_if_not_result,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_chain,
    wait_fixed,
)

from qserv.errors import (
    Cancelled,
    ClusterError,
    CzarUnavailable,
    DeadlineExceeded,
    MetadataUnavailable,
    TaskFailed,
)

CZAR: Final = 60.0
"""Seconds that a load waits for a czar that is restarted."""
METADATA: Final = 60.0
"""Seconds in which a database may be restarted under a commit."""
OWNER: Final = 5.0
"""Seconds in which PostgreSQL sees that the connections of a dead czar are gone."""
FILE: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries to send a file: a worker that is restarted is back before the
last."""
STORED: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds between tries to get a stored file that nobody gave."""
STILL: Final = (0.02,) * 4
"""Seconds between times that a file is read which changes meanwhile: a later change
shows then in its times, whatever the ticks of the kernel."""
COMMIT: Final = (1.0, 2.0, 4.0, 8.0, *(15.0,) * 39)
"""Seconds between tries to commit while too few workers can install: ten minutes."""


def for_czar() -> Retrying:
    """Ask again while the czar may be on its way back."""
    return Retrying(
        retry=retry_if_exception_type(CzarUnavailable),
        wait=wait_fixed(0.5),
        stop=stop_after_delay(CZAR),
        reraise=True,
    )


def for_metadata() -> Retrying:
    """Ask again while the metadata's database may be on its way back."""
    return Retrying(
        retry=retry_if_exception(_may_come_back),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(METADATA),
        reraise=True,
    )


def _may_come_back(error: BaseException) -> bool:
    return isinstance(error, MetadataUnavailable) and error.retry


def for_owner() -> Retrying:
    """Ask again while it is denied; the last answer is returned."""
    return Retrying(
        retry=retry_if_not_result(bool),
        wait=wait_fixed(0.1),
        stop=stop_after_delay(OWNER),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )


def for_file() -> Retrying:
    """Send a file again that a worker did not take."""
    return _paused(FILE, _may_take)


def for_stored() -> Retrying:
    """Ask for a stored file again whose holders may be on their way back."""
    return _paused(STORED, lambda error: isinstance(error, ClusterError))


def for_still() -> Retrying:
    """Read a file again that changed meanwhile: a copy of it was put there."""
    return _paused(STILL, lambda error: isinstance(error, TaskFailed))


def for_commit(
    waits: Callable[[ClusterError], None], again: Callable[[float], None]
) -> Retrying:
    """Commit again while too few workers can install.

    Parameters
    ----------
    waits
        Told before each pause why.
    again
        Called before each further try, with the seconds of all pauses so far.
    """

    def pausing(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        assert isinstance(error, ClusterError)
        waits(error)

    def trying(state: RetryCallState) -> None:
        if state.attempt_number > 1:
            again(state.idle_for)

    policy = _paused(COMMIT, _may_install)
    return policy.copy(before_sleep=pausing, before=trying)


class Waiting(Protocol):
    """The answer to one who begins a load that may still be under way."""

    wait: float
    """Seconds after which to ask again; 0: begun."""
    lease: float
    """Seconds of silence after which the other loader has lost it."""


def for_lease(waits: Callable[[Waiting], None]) -> Retrying:
    """Begin a load again until nobody else has it; at last the answer is returned.

    Parameters
    ----------
    waits
        Told before each pause what the answer was.
    """

    def answer(state: RetryCallState) -> Waiting:
        assert state.outcome is not None
        return cast("Waiting", state.outcome.result())

    return Retrying(
        retry=retry_if_result(lambda reply: reply.wait > 0),
        wait=lambda state: answer(state).wait,
        # A loader that is dead is silent for one lease; one that lives, never.
        stop=lambda state: state.idle_for > 2 * answer(state).lease,
        before_sleep=lambda state: waits(answer(state)),
        retry_error_callback=answer,
    )


def _paused(pauses: Sequence[float], again: Any) -> Retrying:
    return Retrying(
        retry=retry_if_exception(again),
        wait=wait_chain(*map(wait_fixed, pauses)),
        stop=stop_after_attempt(len(pauses) + 1),
        reraise=True,
    )


def _may_take(error: BaseException) -> bool:
    # A worker that is too slow is one in trouble, too.
    return isinstance(error, ClusterError | DeadlineExceeded | Cancelled)


def _may_install(error: BaseException) -> bool:
    return isinstance(error, ClusterError) and not isinstance(error, CzarUnavailable)
