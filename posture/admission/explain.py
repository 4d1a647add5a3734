"""Whether one request is admitted, which policies refuse it, and which exceptions let it through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from posture.model import Key, canonical

from . import pss
from .controls import RESTRICTED
from .enforcement import Profile
from .evaluate import ENGINES, NAMESPACES, Admission, like, variants_of
from .gaps import doubt, named_through
from .pods import mapping, mappings
from .policy import Asked, Policy, Space, Variant
from .requests import PODS, Request, pod_creation
from .violations import CONTROLS


class Step(NamedTuple):
    """What one policy says: `refuses`, `may refuse` with why, `would refuse` without the exceptions named, `warns`."""

    policy: str
    says: str
    why: str = ""
    exceptions: tuple[str, ...] = ()


class Standing(NamedTuple):
    """A control that a pod violates: how far it is enforced in its namespace, `n of m` violations, and by what."""

    control: str
    enforced: str
    by: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """Whether a request is admitted; None with why nobody can say."""

    allowed: bool | None
    by: tuple[Step, ...]
    controls: tuple[Standing, ...]
    why: str = ""


class Question(NamedTuple):
    """A pod that is to be created in a namespace, or changed, by somebody; None is anybody."""

    namespace: str
    pod: Mapping[str, Any]
    operation: str = "CREATE"
    user: str | None = None
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Question:
        """A question as one line of a batch asks it. Raises ValueError."""
        strange = given.keys() - {"namespace", "pod", "operation", "user", "groups"}
        if strange:
            raise ValueError(f"{min(strange)} is no field of a question")
        pod, user, groups = given.get("pod"), given.get("user"), given.get("groups") or []
        if not isinstance(pod, dict) or not isinstance(pod.get("spec"), dict) or pod.get("kind", "Pod") != "Pod":
            raise ValueError("pod is no pod: an object with metadata and spec is needed")
        if not isinstance(pod["spec"].get("containers"), list) or not mappings(pod["spec"]["containers"]):
            raise ValueError("pod has no containers")
        home = mapping(pod.get("metadata")).get("namespace")
        namespace = given.get("namespace") or home
        if not isinstance(namespace, str) or not namespace:
            raise ValueError("namespace is missing")
        if home not in (None, "", namespace):
            raise ValueError(f"pod is of namespace {home}, and {namespace} is asked about")
        operation = given.get("operation", "CREATE")
        if operation not in ("CREATE", "UPDATE"):
            raise ValueError("operation is neither CREATE nor UPDATE")
        texts = isinstance(groups, list) and all(isinstance(one, str) for one in groups)
        if not isinstance(user, str | None) or not texts:
            raise ValueError("user is a name, and groups a list of names")
        if groups and not user:
            raise ValueError("groups are given without user")
        try:
            canonical(pod)
        except TypeError as error:
            raise ValueError(f"pod is no JSON that an API server takes: {error}") from error
        return cls(namespace, pod, operation, user, tuple(groups))

    def request(self, space: Space) -> Request:
        """The request that it asks about. An update is one of ephemeral containers: others never matter."""
        groups = self.groups or (("system:authenticated",) if self.user else ())
        made = pod_creation(self.pod, self.namespace, space.object, user=self.user, groups=groups)
        if self.operation == "CREATE":
            return made
        pod = mapping(made.object)
        spec = {field: value for field, value in mapping(pod.get("spec")).items() if field != "ephemeralContainers"}
        return replace(made, operation="UPDATE", subresource="ephemeralcontainers", old={**pod, "spec": spec})


def answer(live: Admission, question: Question) -> Answer:
    """Ask every policy that is meant for the namespace."""
    space = Space.of(question.namespace, live.snapshot.get(Key(NAMESPACES, "", question.namespace)))
    return decided(live, space, question.request(space))


def decided(live: Admission, space: Space, request: Request) -> Answer:
    """What becomes of a request in a namespace."""
    steps, refused, doubts = [], False, []
    for policy, variant in variants_of(live.policies, space):
        step, refuses = _step(live, space, policy, variant, request)
        if step is not None:
            steps.append(step)
        refused |= refuses is True
        if refuses is None and step is not None:
            doubts.append(f"{step.policy}: {step.why}")
    gap = doubt(live, "", space.name, live.policies[0].through) if live.policies else None
    if gap is not None:
        doubts.append(f"{gap.resource}: {gap.message}")
    allowed = False if refused else None if doubts else True
    return Answer(allowed, tuple(steps), tuple(_standing(live, space, request)), doubts[0] if allowed is None else "")


def _step(
    live: Admission, space: Space, policy: Policy, variant: Variant, request: Request
) -> tuple[Step | None, bool | None]:
    """What a policy says of a request, and whether that has it refused."""
    name = named_through(policy.through_in(space.name))
    engine = ENGINES[policy.engine]
    said = engine.judged([Asked(policy, request, variant.exemptions)], live.cel)[0]
    if said.refuses is False:
        if not said.excused or policy.enforces is False:
            return None, False
        taken = tuple(sorted(named_through(policy.exemptions[n].through_in(space.name)) for n in said.excused))
        otherwise = engine.judged([Asked(policy, request, variant.exemptions - said.excused)], live.cel)[0]
        if otherwise.refuses is False:
            return None, False
        return Step(name, "would refuse" if otherwise.refuses else "might refuse", otherwise.why, taken), False
    why = said.why or variant.why or (policy.why if policy.enforces is None else "")
    if not policy.denies:
        return (Step(name, "warns", "its action is not to refuse") if said.refuses else None), False
    if policy.enforces is False:
        return Step(name, "does not answer", policy.why), False
    if said.refuses and policy.enforces and not variant.why:
        return Step(name, "refuses"), True
    return Step(name, "may refuse", why or policy.opaque), None


def _standing(live: Admission, space: Space, request: Request) -> list[Standing]:
    """The controls that a pod violates, at the strictest level, and how far each is enforced there."""
    if request.resource != PODS or request.object is None:
        return []
    held = live.spaces.get(space.name)
    profile = held.profile if held else like(live, space)
    found = (one.control for one in pss.violations(request.object, RESTRICTED))
    return [_control(profile, space, control) for control in found if control in CONTROLS]


def _control(profile: Profile, space: Space, control: str) -> Standing:
    numbers = CONTROLS[control]
    refused = sum(profile.refused >> number & 1 for number in numbers)
    unknown = sum(profile.unknown >> number & 1 for number in numbers)
    by = {named_through(part.policy.through_in(space.name)) for number in numbers for part in profile.by(number)}
    if refused == len(numbers):
        said = "fully"
    elif unknown:
        said = f"unknown ({refused} of {len(numbers)} for sure)" if refused else "unknown"
    else:
        said = f"partly ({refused} of {len(numbers)})" if refused else "not"
    return Standing(control, said, tuple(sorted(by)))
