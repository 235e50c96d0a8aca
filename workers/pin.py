"""The platform's key as this node has it pinned, and how a running node follows a new one."""

from __future__ import annotations

import contextlib
import logging
import time
from concurrent.futures import Executor

from workers import config, trust
from workers.config import Config, Home

logger = logging.getLogger(__name__)

#: How often the portal is asked whether its key changed, at most, seconds.
KEY_SECONDS_MIN = 60


class Pin:
    """The one key that messages are believed by. Safe for threads: it is replaced whole."""

    def __init__(self, *, home: Home, settings: Config, background: Executor) -> None:
        self._home = home
        self._settings = settings
        self._background = background
        self._due = 0.0
        #: Base64 of the platform's public key.
        self.key = settings.platform_key

    def doubt(self) -> None:
        """See in the background whether the platform's key changed.

        For a message whose signature is bad; that comes again by itself.
        """
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + KEY_SECONDS_MIN
        with contextlib.suppress(RuntimeError):  # the executor has been shut down
            self._background.submit(self._follow)

    def _follow(self) -> None:
        try:
            key = trust.follow(self.key, trust.fetch(self._settings.portal_url))
        except trust.Unknown as exc:
            logger.warning("the portal does not say whether its key changed: %s", exc)
            return
        if key == self.key:
            return
        self.key = key
        self._settings = self._settings.model_copy(update={"platform_key": key})
        config.write(self._home, self._settings)
        logger.warning("the platform has a new key, vouched for by the old one")
