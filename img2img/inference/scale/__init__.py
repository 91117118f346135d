"""Pictures of buckets and archives, in numbers that one machine does not translate: the request of
`translate_folder` as tasks on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from img2img.inference.events import Event
from img2img.inference.request import TranslateRequest
from img2img.inference.scale.cluster import Cluster, check_room, connected, execute, room
from img2img.inference.scale.records import Record, Records
from img2img.inference.scale.run import WAVE, ScaleSummary, check_remote, translate_remote
from img2img.system.places import Place

# Tasks of a wave: so many for each core, that opening the models anew costs little, and at most.
_EACH, _MOST = 2000, 10**6

__all__ = [
    "Cluster",
    "Place",
    "Record",
    "Records",
    "ScaleSummary",
    "translate_on_ray",
    "translate_remote",
]


def translate_on_ray(
    request: TranslateRequest, cluster: Cluster, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """`translate_folder` on a Ray cluster; inputs and output may be addresses of object stores, web
    servers and archives (`Place`), and the pictures more than the memory holds names of.

    Naming, limits, metadata and outputs are those of `translate_folder`, and so are the events; the
    end is a ScaleSummary. A picture that cannot be translated is an event; a worker or a node that
    dies costs nothing that was recorded, and its pictures are done elsewhere. The same request does
    exactly the rest.

    Raises:
        UsageError, ModelError: as `translate_folder`.
        MissingExtra: Ray, pyarrow, fsspec or the package for an address is not installed.
        EnvironmentFault: the cluster does not answer or has no room for one model; a place refuses
            access or does not answer (at any step).
    """
    check_remote(request)
    return _translate(request, cluster, should_stop)


def _translate(
    request: TranslateRequest, cluster: Cluster, should_stop: Callable[[], bool]
) -> Iterator[Event]:
    with connected(cluster):
        check_room(cluster)
        yield from translate_remote(
            request,
            lambda tasks, work, stop: execute(tasks, work, cluster, stop),
            cluster.threads,
            should_stop,
            min(_MOST, max(WAVE, _EACH * int(room()["CPU"]))),
        )
