"""ClusterImagePolicies: which images each is for, and what becomes of images that none is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from posture.admission.cel import Missing
from posture.admission.engines.sigstore import gaps, judged, policies, variant
from posture.admission.policy import ADMITS, REFUSES, Asked, Policy, Space, Verdict
from posture.admission.requests import Request, Resource, pod_creation
from posture.model import Gap, Key, Snapshot, Through
from tests.generator.engines import NOW, PODS, answering, webhook, webhooks, where
from tests.generator.objects import Object, metadata, snapshot

SIGNED, PASS, FAIL = {"keyless": {"url": "https://fulcio.example.com"}}, {"static": {"action": "pass"}}, {
    "static": {"action": "fail"}
}  # fmt: skip
INCLUDED = Space.of("pay", {"labels": {"policy.sigstore.dev/include": "true"}})
OTHER = Space.of("shop", None)
UNKNOWN = Verdict(None, "it depends on the signatures of images")
OURS = "registry.example.com/team/app"


def policy(name: str, *globs: str, authorities: list[Object] | None = None, **spec: Any) -> Object:
    """A ClusterImagePolicy for some images; they must be signed."""
    images = [{"glob": glob} for glob in globs]
    return {
        "apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": metadata(name),
        "spec": {"images": images, "authorities": [SIGNED] if authorities is None else authorities, **spec},
    }  # fmt: skip


def asking(**fields: Any) -> Object:
    """The controller's webhook."""
    usual = {"namespaceSelector": where("policy.sigstore.dev/include", "In", "true")}
    return webhooks("policy.sigstore.dev", webhook("policy.sigstore.dev", "cosign-system/webhook", **(usual | fields)))


def unmatched(what: str) -> Object:
    """The ConfigMap that says what becomes of images that no policy is for."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": {"no-match-policy": what},
            "metadata": metadata("config-policy-controller", "cosign-system")}  # fmt: skip


def cluster(*objects: Object, gaps: tuple[Gap, ...] = ()) -> Snapshot:
    """A cluster in which the controller answers."""
    return replace(snapshot([*answering("cosign-system", "webhook"), *objects], gaps), settings={"now": NOW})


def made(found: Snapshot) -> dict[str, Policy]:
    """The policies by name; what no policy is for is `rest`."""
    return {"rest" if one.through.kind == "ConfigMap" else one.through.name: one for one in policies(found)}


def pod(*images: str, space: Space = INCLUDED) -> Request:
    """The creation of a pod."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return pod_creation({"metadata": {"name": "p"}, "spec": {"containers": containers}}, space.name, space.object)


def verdict(one: Policy, request: Request, space: Space = INCLUDED) -> Verdict | None:
    """With the exemptions that count in a namespace; None where it is not meant for that."""
    there = variant(one, space)
    return None if there is None else judged([Asked(one, request, there.exemptions)], Missing())[0]


# Images -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "image", "matches"),
    [
        ("**", OURS, True),
        ("registry.example.com/**", OURS, True),
        ("registry.example.com/*", OURS, False),
        ("registry.example.com/*/*", OURS, True),
        ("registry.example.com/team/app", OURS, True),
        ("registry.example.com/team/app:latest", OURS, True),
        ("registry.example.com/team/app:v1", OURS, False),
        ("registry.example.com/team/app@sha256:*", f"{OURS}:v1@sha256:abc", True),
        ("registryXexample.com/team/app", OURS, False),
        ("*", "nginx", True),
        ("*", "docker.io/library/nginx", True),
        ("*", "team/app", False),
        ("*/*", "team/app", True),
        ("index.docker.io/library/nginx:latest", "nginx", True),
        ("index.docker.io/**", "nginx", True),
        ("index.docker.io/**", OURS, False),
        ("localhost:5000/*:v1", "localhost:5000/app:v1", True),
        ("**app**", OURS, True),
        ("*" * 41 + "!", "a" * 10_000, False),
    ],
)
def test_which_images_a_glob_matches(glob: str, image: str, matches: bool) -> None:
    """`*` is all but a slash, `**` everything, and the name is the full one, or as it is written. Never slow."""
    found = made(cluster(asking(), policy("p", glob)))
    assert verdict(found["p"], pod(image)) == (UNKNOWN if matches else ADMITS)
    assert verdict(found["rest"], pod(image)) == (ADMITS if matches else REFUSES)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, UNKNOWN),
        ({"authorities": [SIGNED, PASS]}, ADMITS),
        ({"authorities": [PASS], "policy": {"type": "cue", "data": "x"}}, UNKNOWN),
        ({"authorities": [FAIL]}, REFUSES),
        ({"authorities": [FAIL, SIGNED]}, UNKNOWN),
        ({"authorities": []}, UNKNOWN),
        ({"match": [{"group": "apps", "version": "v1", "resource": "deployments"}]}, ADMITS),
        ({"match": [{"version": "v1", "resource": "pods"}]}, UNKNOWN),
        ({"match": [{"version": "v1", "resource": "pods", "selector": {"matchLabels": {"app": "x"}}}]}, ADMITS),
        ({"images": "x"}, ADMITS),
        ({"images": [{"regex": "x"}]}, UNKNOWN),
    ],
)
def test_what_a_policy_refuses(spec: Object, expected: Verdict) -> None:
    """An authority that passes all admits, one that fails all refuses; a signature nobody can judge."""
    found = made(cluster(asking(), policy("p", "**", **spec)))
    assert verdict(found["p"], pod("nginx")) == expected


def test_every_image_counts() -> None:
    """Of each container, and of a template too."""
    found = made(cluster(asking(), policy("p", "**", authorities=[PASS]), policy("q", "index.docker.io/**")))
    assert verdict(found["q"], pod(OURS)) == ADMITS
    assert verdict(found["q"], pod(OURS, "nginx")) == UNKNOWN
    template = {"spec": {"containers": [{"image": "nginx"}]}}
    for spec in ({"template": template}, {"jobTemplate": {"spec": {"template": template}}}):
        kind = Resource("apps", "v1", "deployments")
        rules = [PODS | {"apiGroups": ["*"], "resources": ["*"]}]
        there = made(cluster(asking(rules=rules), policy("q", "index.docker.io/**")))["q"]
        request = Request("CREATE", kind, "", "pay", "d", {"spec": spec}, namespace_object=INCLUDED.object)
        assert verdict(there, request) == UNKNOWN


# What no policy is for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objects", "denies"),
    [([], True), ([unmatched("deny")], True), ([unmatched("allow")], False), ([unmatched("warn")], False),
     ([unmatched("other")], True)],
)  # fmt: skip
def test_what_no_policy_is_for_is_refused_unless_said_otherwise(objects: list[Object], denies: bool) -> None:
    """`no-match-policy` in the controller's ConfigMap."""
    rest = made(cluster(asking(), policy("p", "index.docker.io/**"), *objects))["rest"]
    assert rest.denies is denies
    assert rest.through == Through("ConfigMap", "cosign-system", "config-policy-controller/data.no-match-policy")
    assert verdict(rest, pod(OURS)) == REFUSES


def test_a_policy_that_passes_all_is_an_exception() -> None:
    """Its images are taken out of what is refused, and without it they would not be."""
    rest = made(cluster(asking(), policy("p", "registry.example.com/**", authorities=[PASS])))["rest"]
    found = verdict(rest, pod(OURS))
    assert found is not None
    (number,) = found.excused
    one = rest.exemptions[number]
    assert (found.refuses, one.through) == (False, Through("ClusterImagePolicy", "", "p"))
    assert one.what == "admits images registry.example.com/** unsigned"
    assert [change.new for change in one.removal] == [None]
    assert judged([Asked(rest, pod(OURS), frozenset())], Missing()) == [REFUSES]
    assert verdict(rest, pod(OURS, "nginx")) == REFUSES


def test_a_configmap_that_cannot_be_read_leaves_it_unknown() -> None:
    """Whether what no policy is for is refused."""
    gap = Gap("configmaps", "", "forbidden", "may not be listed")
    rest = made(cluster(asking(), policy("p", "x"), gaps=(gap,)))["rest"]
    assert (rest.enforces, rest.why) == (None, "configmaps in cosign-system: may not be listed")


def test_a_controller_without_policies_refuses_all() -> None:
    """As far as discovery says that it is installed; a configuration of that name alone says nothing."""
    resource = {"apiVersion": "", "kind": "APIResource", "namespaced": False,
                "metadata": metadata("clusterimagepolicies.policy.sigstore.dev")}  # fmt: skip
    assert [*made(cluster(asking(), resource))] == ["rest"]
    assert made(cluster(asking())) == {}
    assert made(cluster()) == {}


# Where, and whether it answers --------------------------------------------------------------------------------------


def test_namespaces_opt_in() -> None:
    """By the label that the webhook asks for, which is the same where it was not read."""
    for objects in ([asking()], []):
        found = made(replace(snapshot([*objects, policy("p", "**")]), settings={}))["p"]
        assert verdict(found, pod("nginx")) == UNKNOWN
        assert verdict(found, pod("nginx", space=OTHER), OTHER) is None


def test_a_webhook_that_lets_namespaces_opt_out() -> None:
    """Its selector is an exemption of every policy."""
    found = made(cluster(asking(namespaceSelector=where("exclude", "DoesNotExist")), policy("p", "**")))
    space = Space.of("shop", {"labels": {"exclude": ""}})
    assert verdict(found["p"], pod("nginx", space=OTHER), OTHER) == UNKNOWN
    for one in found.values():
        excused = verdict(one, pod("nginx", space=space), space)
        assert excused is not None
        names = [one.exemptions[number].through.name for number in excused.excused]
        assert names == ["policy.sigstore.dev/webhooks[policy.sigstore.dev].namespaceSelector[exclude DoesNotExist]"]


def test_it_is_up_as_its_webhook_is() -> None:
    """And in a cluster where no webhook asks it, it refuses nothing; a folder says nothing of that."""
    assert made(cluster(asking(), policy("p", "**")))["p"].enforces is True
    gone = made(cluster(policy("p", "**")))["p"]
    assert (gone.up, gone.enforces, gone.why) == (False, False, "no webhook asks it")
    assert made(snapshot([policy("p", "**")]))["p"].enforces is True
    hidden = Gap("validatingwebhookconfigurations.admissionregistration.k8s.io", "", "forbidden", "may not be listed")
    assert made(cluster(policy("p", "**"), gaps=(hidden,)))["p"].enforces is None
    down = made(snapshot([asking(failurePolicy="Ignore"), policy("p", "**"), *answering("x", "y")]))["p"]
    assert (down.up, down.enforces) == (False, False)


def test_a_policy_that_warns_denies_nothing() -> None:
    """Its mode is not part of its content."""
    one = made(cluster(asking(), policy("p", "**")))["p"]
    other = made(cluster(asking(), policy("p", "**", mode="warn")))["p"]
    assert (one.denies, other.denies) == (True, False)
    assert one.content == other.content != made(cluster(asking(), policy("p", "x")))["p"].content


def test_what_nobody_can_say_is_counted() -> None:
    """A row for the policies that verify signatures."""
    (gap,) = gaps(cluster(asking(), policy("p", "**"), policy("q", "**", authorities=[PASS])))
    assert gap.message == "1 of kind ClusterImagePolicy: it depends on the signatures of images"
    assert Key(gap.resource, "", "p").resource == "clusterimagepolicies.policy.sigstore.dev"
