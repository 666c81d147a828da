"""Carrying gin's scope into the replicas."""

from __future__ import annotations

from collections.abc import Callable

import gin


def carry(function: Callable) -> Callable:
    """Returns `function`, to be called in the gin scope that is open now, in whichever thread.

    A gin scope is a property of the thread, and `MirroredStrategy` traces each replica in a thread of its own.
    """
    scope = gin.current_scope()

    def call(*args):
        with gin.config_scope(scope or None):
            return function(*args)

    return call
