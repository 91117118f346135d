"""The HTTP service: a page and an API in front of `Translator`. Needs the extra `serve`.

`request` says what is served, `service` translates, `queue` batches, `folder` keeps uploads,
`guards` refuses, `app` has the routes, `running` listens.
"""

from __future__ import annotations
