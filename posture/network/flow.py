"""Questions: may this pod or address reach that one, on this port?"""

from __future__ import annotations

from typing import NamedTuple

from . import addresses
from .connectivity import UNKNOWN, Connectivity, Party
from .endpoints import Pod
from .ports import span


class Question(NamedTuple):
    """`source` and `destination` are `NS/POD` or an IP address; `port` is the pod's, not a Service's."""

    source: str
    destination: str
    protocol: str
    port: int


class Answer(NamedTuple):
    """`allowed` None is unknown. `why` says what decided beside policies, or why nobody knows."""

    allowed: bool | None
    why: str = ""


def answer(result: Connectivity, question: Question) -> Answer:
    """May it? Raises ValueError for a question that is none: no address, no port, a pod that is not there."""
    port = span(question.protocol, question.port, question.port)
    source, destination = _party(result, question.source), _party(result, question.destination)
    if source is None or destination is None:
        return Answer(False, "a pod that has ended neither sends nor receives")
    if source.name and source.name == destination.name:
        return Answer(True, "a pod always reaches itself")
    if not source.judged and not destination.judged:
        return Answer(None, "no policy speaks of either end")
    found = result.between(source, destination)
    if found == UNKNOWN:
        return Answer(None, "what decides it is not known")
    if found.allowed & port:
        return Answer(True)
    return Answer(None if found.accept & port else False)


def _party(result: Connectivity, name: str) -> Party | None:
    """A party of a question; None for a pod that has ended. The address of a pod is that pod, there."""
    namespace, slash, short = name.partition("/")
    if slash:
        pod = result.pod(namespace, short)
        if pod is None:
            raise ValueError(f"there is no pod {name}")
        return _pod(result, name, pod)
    number = addresses.number(name)
    for space in result.spaces.values():
        for short, pod in space.pods.items():
            if number in pod.addresses and pod.endpoint is not None and not pod.endpoint.node:
                found = _pod(result, f"{space.name}/{short}", pod)
                return found and found._replace(address=number)
    return Party(None, address=number)


def _pod(result: Connectivity, name: str, pod: Pod) -> Party | None:
    if pod.endpoint is None:
        return None
    own = pod.hosts if pod.endpoint.node else pod.addresses
    labels = result.labels_of(pod.endpoint.namespace)
    return Party(pod.endpoint._replace(addresses=own), labels, None, pod.hosts, name)
