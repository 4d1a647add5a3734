"""OpenShift's SecurityContextConstraints: what each admits, and who may use which.

Every pod here is the one that restricted takes, with one thing changed. The SCCs are those that OpenShift ships.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from posture.admission.cel import Missing
from posture.admission.engines.scc import CONSTRAINTS, judged, policies, variant
from posture.admission.policy import ADMITS, NONE, REFUSES, Asked, Policy, Space, Verdict
from posture.admission.requests import Request, pod_creation
from posture.model import Gap, Key, Snapshot, Through
from tests.admission.changes import GONE, changed
from tests.generator.engines import answering
from tests.generator.objects import Object, account, binding, group, metadata, role, rule, snapshot, user

ANY, MUST = {"type": "RunAsAny"}, {"type": "MustRunAs"}
VOLUMES = ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"]
UIDS = {"openshift.io/sa.scc.uid-range": "1000620000/10000", "openshift.io/sa.scc.mcs": "s0:c25,c10"}
PAY = Space.of("pay", {"annotations": UIDS})
SHOP = Space.of("shop", {"annotations": {"openshift.io/sa.scc.uid-range": "1000630000/10000"}})
OWN = Space.of("pay", {"annotations": {"openshift.io/sa.scc.uid-range": "2000-2999"}})
RESTRICTED: Object = {
    "allowHostDirVolumePlugin": False, "allowHostIPC": False, "allowHostNetwork": False, "allowHostPID": False,
    "allowHostPorts": False, "allowPrivilegeEscalation": False, "allowPrivilegedContainer": False,
    "allowedCapabilities": ["NET_BIND_SERVICE"], "defaultAddCapabilities": None, "fsGroup": MUST, "groups": [],
    "priority": None, "readOnlyRootFilesystem": False, "requiredDropCapabilities": ["ALL"],
    "runAsUser": {"type": "MustRunAsRange"}, "seLinuxContext": MUST, "seccompProfiles": ["runtime/default"],
    "supplementalGroups": ANY, "users": [], "volumes": VOLUMES,
}  # fmt: skip
ANYUID = RESTRICTED | {
    "allowPrivilegeEscalation": True, "allowedCapabilities": None, "fsGroup": ANY, "groups": ["system:cluster-admins"],
    "priority": 10, "requiredDropCapabilities": ["MKNOD"], "runAsUser": ANY, "seccompProfiles": None,
}  # fmt: skip
PRIVILEGED = {
    **{field: True for field in RESTRICTED if field.startswith("allow")}, "allowedCapabilities": ["*"],
    "allowedUnsafeSysctls": ["*"], "fsGroup": ANY, "runAsUser": ANY, "seLinuxContext": ANY, "seccompProfiles": ["*"],
    "supplementalGroups": ANY, "volumes": ["*"], "groups": ["system:cluster-admins", "system:nodes", "system:masters"],
    "users": ["system:admin", "system:serviceaccount:openshift-infra:build-controller"],
}  # fmt: skip
USE = "system:openshift:scc:"


def scc(name: str, given: Object, **more: Any) -> Object:
    """An SCC."""
    return {"apiVersion": "security.openshift.io/v1", "kind": "SecurityContextConstraints",
            "metadata": metadata(name), **given, **more}  # fmt: skip


def use(name: str) -> Object:
    """The ClusterRole that lets one use it."""
    return role(f"{USE}{name}", rule("use", "securitycontextconstraints", "security.openshift.io", [name]))


def shipped(*objects: Object, gaps: tuple[Gap, ...] = ()) -> Snapshot:
    """A cluster as OpenShift sets it up, and these objects."""
    given = {"restricted-v2": RESTRICTED, "anyuid": ANYUID, "privileged": PRIVILEGED}
    everybody = binding(f"{USE}restricted-v2", f"ClusterRole/{USE}restricted-v2", group("system:authenticated"))
    made = [made for name, fields in given.items() for made in (scc(name, fields), use(name))]
    return snapshot([*answering("x", "y"), *made, everybody, *objects], gaps)


def lets(name: str, *subjects: Object, namespace: str = "") -> Object:
    """A binding that lets subjects use an SCC."""
    return binding(f"use-{name}", f"ClusterRole/{USE}{name}", *subjects, namespace=namespace)


def only(found: Snapshot) -> Policy:
    """The one policy."""
    (policy,) = policies(found)
    return policy


def creation(*changes: tuple[str, Any], space: Space = PAY) -> Request:
    """The creation of the good pod with some changes."""
    return pod_creation(changed(("spec.ephemeralContainers", GONE), *changes), space.name, space.object)


def verdict(policy: Policy, request: Request, space: Space = PAY) -> Verdict:
    """With the exemptions that count in the namespace."""
    there = variant(policy, space)
    assert there is not None
    return judged([Asked(policy, request, there.exemptions)], Missing())[0]


# What constraints admit ---------------------------------------------------------------------------------------------

C, POD = "spec.containers[0]", "spec.securityContext"
S = f"{C}.securityContext"
LEVEL = "s0:c10,c25"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], False),
        ([("spec.hostNetwork", True)], True),
        ([("spec.hostPID", True)], True),
        ([("spec.hostIPC", True)], True),
        ([("spec.hostPID", "yes")], False),
        ([(f"{C}.ports", [{"containerPort": 80, "hostPort": 80}])], True),
        ([(f"{C}.ports", [{"containerPort": 80}])], False),
        ([(f"{S}.privileged", True)], True),
        ([("spec.initContainers[0].securityContext.privileged", True)], True),
        ([(f"{S}.allowPrivilegeEscalation", True)], True),
        ([(f"{S}.allowPrivilegeEscalation", GONE)], None),
        ([(f"{S}.capabilities.add", ["NET_BIND_SERVICE"])], False),
        ([(f"{S}.capabilities.add", ["CHOWN"])], True),
        ([(f"{S}.capabilities.drop", ["CHOWN"])], None),
        ([(f"{S}.capabilities.drop", ["CHOWN"]), ("spec.hostIPC", True)], True),
        ([("spec.volumes", [{"name": "v", "hostPath": {"path": "/"}}])], True),
        ([("spec.volumes", [{"name": "v", "nfs": {}}])], True),
        ([("spec.volumes", [{"name": "v", "emptyDir": {}}, {"name": "w"}])], False),
        ([("spec.volumes", [{"name": "v", "image": {}}])], None),
        ([(f"{POD}.runAsUser", 0)], True),
        ([(f"{POD}.runAsUser", 1001)], True),
        ([(f"{S}.runAsUser", 1001)], True),
        ([(f"{POD}.runAsUser", 1000620005)], None),
        ([(f"{POD}.runAsUser", "x")], None),
        ([(f"{POD}.runAsNonRoot", GONE)], None),
        ([(f"{POD}.runAsNonRoot", False)], False),
        ([(f"{POD}.fsGroup", 0)], True),
        ([(f"{POD}.fsGroup", 1000620000)], None),
        ([(f"{POD}.supplementalGroups", [0])], False),
        ([(f"{POD}.seLinuxOptions", {"type": "spc_t"})], True),
        ([(f"{POD}.seLinuxOptions", {"user": "x", "level": LEVEL})], True),
        ([(f"{POD}.seLinuxOptions", {})], True),
        ([(f"{POD}.seLinuxOptions", {"level": LEVEL})], None),
        ([(f"{POD}.seccompProfile", {"type": "Unconfined"})], True),
        ([(f"{S}.seccompProfile", {"type": "Unconfined"})], True),
        ([(f"{S}.seccompProfile", {"type": "Localhost", "localhostProfile": "x"})], True),
        ([(f"{POD}.seccompProfile", GONE)], None),
        ([(f"{POD}.sysctls", [{"name": "kernel.shm_rmid_forced", "value": "1"}])], False),
        ([(f"{POD}.sysctls", [{"name": "kernel.sem", "value": "1"}])], True),
        ([(f"{POD}.sysctls", [{"name": "net.ipv4.tcp_rmem", "value": "1"}])], None),
        ([("spec.os", {"name": "windows"}), ("spec.hostNetwork", True)], False),
    ],
)  # fmt: skip
def test_what_is_shipped_refuses(changes: list[tuple[str, Any]], expected: bool | None) -> None:
    """Where it fills something in that another control would have missed, what is stored is another pod: unknown."""
    found = verdict(only(shipped()), creation(*changes))
    assert found.refuses is expected
    assert bool(found.why) == (expected is None)


@pytest.mark.parametrize(
    ("fields", "changes", "expected"),
    [
        ({}, [("spec.hostNetwork", True)], True),
        ({"allowHostNetwork": True}, [("spec.hostNetwork", True)], False),
        ({"allowHostNetwork": True}, [("spec.hostNetwork", True), ("spec.hostPID", True)], True),
        ({"volumes": ["hostPath", "secret"], "allowHostDirVolumePlugin": True},
         [("spec.volumes", [{"name": "v", "hostPath": {}}])], False),
        ({"volumes": ["hostPath", "secret"]}, [("spec.volumes", [{"name": "v", "hostPath": {}}])], None),
        ({"volumes": ["nfs"]}, [("spec.volumes", [{"name": "v", "nfs": {}}])], True),
        ({"volumes": ["nfs", "secret"]},
         [("spec.volumes", [{"name": "v", "nfs": {}}, {"name": "w", "projected": {"sources": [{"secret": {}}]}}])],
         None),
        ({"volumes": ["cephFS", "secret"]}, [("spec.volumes", [{"name": "v", "cephfs": {}}])], False),
        ({"volumes": ["flexVolume", "secret"], "allowedFlexVolumes": [{"driver": "a/b"}]},
         [("spec.volumes", [{"name": "v", "flexVolume": {"driver": "a/b"}}])], False),
        ({"volumes": ["flexVolume", "secret"], "allowedFlexVolumes": [{"driver": "a/b"}]},
         [("spec.volumes", [{"name": "v", "flexVolume": {"driver": "a/c"}}])], True),
        ({"allowedUnsafeSysctls": ["kernel.*"]}, [(f"{POD}.sysctls", [{"name": "kernel.sem"}])], False),
        ({"allowedUnsafeSysctls": ["kernel.*"], "forbiddenSysctls": ["kernel.sem"]},
         [(f"{POD}.sysctls", [{"name": "kernel.sem"}])], True),
        ({"runAsUser": {"type": "MustRunAsNonRoot"}}, [(f"{POD}.runAsUser", 1001)], False),
        ({"runAsUser": {"type": "MustRunAsNonRoot"}}, [(f"{POD}.runAsUser", 0)], True),
        ({"runAsUser": {"type": "MustRunAsNonRoot"}, "allowHostIPC": True},
         [(f"{POD}.runAsNonRoot", False), ("spec.hostIPC", True)], True),
        ({"runAsUser": {"type": "MustRunAs", "uid": 7}}, [(f"{POD}.runAsUser", 7)], False),
        ({"runAsUser": {"type": "MustRunAs", "uid": 7}}, [(f"{POD}.runAsUser", 8)], True),
        ({"runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 5, "uidRangeMax": 9}},
         [(f"{POD}.runAsUser", 9)], False),
        ({"runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 5, "uidRangeMax": 9}},
         [(f"{POD}.runAsUser", 10)], True),
        ({"runAsUser": {"type": "MustRunAsRange", "uidRangeMin": 5}}, [(f"{POD}.runAsUser", 10)], None),
        ({"runAsUser": {"type": "Other"}}, [(f"{POD}.runAsUser", 10)], None),
        ({"runAsUser": ANY}, [(f"{POD}.runAsUser", 0)], False),
        ({"runAsUser": ANY}, [(f"{POD}.runAsNonRoot", GONE)], False),
        ({"fsGroup": {"type": "MustRunAs", "ranges": [{"min": 1, "max": 9}]}}, [(f"{POD}.fsGroup", 5)], False),
        ({"fsGroup": {"type": "MustRunAs", "ranges": [{"min": 1, "max": 9}]}}, [(f"{POD}.fsGroup", 50)], True),
        ({"seLinuxContext": {"type": "MustRunAs", "seLinuxOptions": {"type": "t", "level": "s0:c1,c2"}}},
         [(f"{POD}.seLinuxOptions", {"type": "t", "level": "s0:c2,c1"})], False),
        ({"seccompProfiles": ["*"]}, [(f"{POD}.seccompProfile", {"type": "Unconfined"})], False),
        ({"seccompProfiles": ["*"]}, [(f"{POD}.seccompProfile", GONE)], False),
        ({"seccompProfiles": ["localhost/x"]},
         [(f"{POD}.seccompProfile", {"type": "Localhost", "localhostProfile": "x"})], False),
        ({"seccompProfiles": None, "allowHostIPC": True}, [("spec.hostIPC", True)], True),
        ({"allowedCapabilities": ["*"]}, [(f"{S}.capabilities.add", ["SYS_ADMIN"])], False),
        ({"defaultAddCapabilities": ["CHOWN"]}, [(f"{S}.capabilities.add", ["CHOWN"])], False),
        ({"allowHostIPC": True, "readOnlyRootFilesystem": True},
         [("spec.hostIPC", True), (f"{S}.readOnlyRootFilesystem", False)], True),
        ({"allowHostIPC": True, "userNamespaceLevel": "RequirePodLevel"},
         [("spec.hostIPC", True), ("spec.hostUsers", True)], True),
        ({"allowHostIPC": True, "userNamespaceLevel": "RequirePodLevel"}, [("spec.hostIPC", True)], None),
        ({"allowHostIPC": True, "userNamespaceLevel": "RequirePodLevel"},
         [("spec.hostIPC", True), ("spec.hostUsers", False)], False),
        ({"volumes": 7, "runAsUser": "x", "seLinuxContext": [], "seccompProfiles": {}, "fsGroup": 1},
         [("spec.hostIPC", True)], True),
    ],
)  # fmt: skip
def test_what_other_constraints_admit(fields: Object, changes: list[tuple[str, Any]], expected: bool | None) -> None:
    """Beside what is shipped, for ServiceAccounts of the namespace."""
    own = [scc("own", RESTRICTED, **fields), use("own"), lets("own", account("pay", "app"), namespace="pay")]
    policy = only(shipped(*own))
    found = verdict(policy, creation(*changes))
    assert found.refuses is expected
    if expected is False:
        assert [policy.exemptions[number].through for number in found.excused] == [
            Through("RoleBinding", "pay", "use-own")
        ]
        assert judged([Asked(policy, creation(*changes), NONE)], Missing())[0].refuses is not False


@pytest.mark.parametrize(
    ("user_", "groups", "expected"),
    [(2000, [2999], False), (1999, [], True), (2500, [3000], True), (2500, [], False)],
)
def test_a_namespace_with_identifiers_of_its_own(user_: int, groups: list[int], expected: bool) -> None:
    """What OpenShift did not hand out itself is looked at one by one."""
    own = [scc("own", RESTRICTED, supplementalGroups=MUST), use("own"), lets("own", group("system:authenticated"))]
    found = [made for made in own if made["kind"] != "ClusterRoleBinding"]
    policy = only(shipped(*(own if groups else found)))
    changes = [(f"{POD}.runAsUser", user_), (f"{POD}.supplementalGroups", groups)]
    base = [one for one in policy.exemptions if one.through.name == "use-own"]
    assert len(base) == bool(groups)
    request = creation(*changes, space=OWN)
    assert verdict(policy, request, OWN).refuses is (expected if not groups else user_ < 2000)


def test_namespaces_share_an_answer_where_identifiers_do_not_matter() -> None:
    """All that OpenShift hands out is alike: no pod names such an identifier."""
    policy = only(shipped())
    assert variant(policy, PAY) == variant(policy, SHOP)
    assert variant(policy, PAY) != variant(policy, OWN)


# Who may use what ---------------------------------------------------------------------------------------------------

ROOT = (f"{POD}.runAsUser", 0)
HOST = ("spec.hostNetwork", True)


@pytest.mark.parametrize(
    ("objects", "where"),
    [
        ([], []),
        ([lets("privileged", account("pay", "app"))], ["pay"]),
        ([lets("privileged", account("pay", "app"), namespace="pay")], ["pay"]),
        ([lets("privileged", account("", "app"), namespace="pay")], ["pay"]),
        ([lets("privileged", account("shop", "app"), namespace="pay")], []),
        ([lets("privileged", user("system:serviceaccount:pay:app"))], ["pay"]),
        ([lets("privileged", user("ann"), group("system:cluster-admins"))], []),
        ([lets("privileged", group("system:serviceaccounts:pay"))], ["pay"]),
        ([lets("privileged", group("system:serviceaccounts"))], ["pay", "shop"]),
        ([lets("privileged", group("system:authenticated"), namespace="shop")], ["shop"]),
        ([binding("admin", "ClusterRole/admin", account("pay", "app")), role("admin", rule("*", "*", "*"))], ["pay"]),
        ([binding("other", "ClusterRole/other", account("pay", "app")),
          role("other", rule("get", "securitycontextconstraints", "security.openshift.io"))], []),
        ([binding("gone", "ClusterRole/gone", account("pay", "app"))], []),
        ([binding("own", "Role/own", account("pay", "app"), namespace="pay"),
          role("own", rule("use", "*", "security.openshift.io"), namespace="pay")], ["pay"]),
        ([scc("privileged", PRIVILEGED, users=["system:serviceaccount:pay:app"])], ["pay"]),
        ([scc("privileged", PRIVILEGED, groups=["system:serviceaccounts:shop"])], ["shop"]),
        ([scc("privileged", PRIVILEGED, users=7, groups=[None, 3])], []),
    ],
)  # fmt: skip
def test_where_constraints_may_be_used(objects: list[Object], where: list[str]) -> None:
    """Whatever a ServiceAccount of the namespace may use counts there."""
    policy = only(shipped(*objects))
    for space in (PAY, SHOP):
        found = verdict(policy, creation(HOST, space=space), space)
        assert found.refuses is (space.name not in where)
        assert bool(found.excused) == (space.name in where)


def test_each_grant_is_an_exception_with_its_edit() -> None:
    """The binding without its ServiceAccounts, or none at all; the SCC without the entry."""
    found = shipped(
        scc("privileged", PRIVILEGED, users=["system:admin", "system:serviceaccount:pay:app"]),
        lets("anyuid", account("pay", "app"), namespace="pay"),
        binding("some", f"ClusterRole/{USE}anyuid", account("pay", "app"), user("ann")),
    )
    exemptions = {str(one.through): one for one in only(found).exemptions}
    assert {name: one.what for name, one in exemptions.items()} == {
        "RoleBinding/pay/use-anyuid": "lets ServiceAccount pay/app use SecurityContextConstraints anyuid",
        "ClusterRoleBinding/some": "lets ServiceAccount pay/app use SecurityContextConstraints anyuid",
        "SecurityContextConstraints/privileged/users[system:serviceaccount:pay:app]":
            "lets system:serviceaccount:pay:app use SecurityContextConstraints privileged",
    }  # fmt: skip
    edits = {name: one.removal[0].new for name, one in exemptions.items()}
    assert edits["RoleBinding/pay/use-anyuid"] is None
    some, privileged = edits["ClusterRoleBinding/some"], edits[[*exemptions][2]]
    assert some is not None
    assert some["subjects"] == [user("ann")]
    assert privileged is not None
    assert privileged["users"] == ["system:admin"]
    for one in exemptions.values():
        assert [found.get(key) is not None for key in one.keys] == [True] * len(one.keys)
        assert one.removal[0].key == one.keys[0]


def test_all_that_lets_a_request_through_is_named() -> None:
    """Two grants of one SCC: without either the other still does."""
    policy = only(shipped(lets("anyuid", account("pay", "a")), lets("anyuid", account("pay", "b"), namespace="pay")))
    request = creation(ROOT, (f"{POD}.seccompProfile", GONE), (f"{S}.allowPrivilegeEscalation", True))
    found = verdict(policy, request)
    assert sorted(policy.exemptions[number].through.kind for number in found.excused) == [
        "ClusterRoleBinding", "RoleBinding",
    ]  # fmt: skip
    assert judged([Asked(policy, request, NONE)], Missing()) == [REFUSES]


def test_what_is_shipped_is_no_exception_and_what_was_loosened_is() -> None:
    """Not by its name: what restricted-v2 allows beyond what is shipped is let through by whoever binds it."""
    (builds,) = only(shipped()).exemptions
    assert builds.through.name == "privileged/users[system:serviceaccount:openshift-infra:build-controller]"
    loosened = only(shipped(scc("restricted-v2", RESTRICTED, allowHostNetwork=True)))
    found = verdict(loosened, creation(HOST))
    assert [loosened.exemptions[number].through.name for number in found.excused] == [f"{USE}restricted-v2"]
    renamed = only(shipped(scc("mine", RESTRICTED, volumes=VOLUMES[::-1], priority=3), use("mine"),
                           lets("mine", group("system:authenticated"))))  # fmt: skip
    assert [one.through for one in renamed.exemptions] == [builds.through]


def test_where_nothing_may_be_used_nothing_is_admitted() -> None:
    """What is shipped admits nothing where nobody may use it; of a folder that is not asked."""
    alone = snapshot([*answering("x", "y"), scc("restricted-v2", RESTRICTED)])
    assert verdict(only(alone), creation()) == REFUSES
    assert verdict(only(snapshot([scc("own", ANYUID)])), creation()) == ADMITS


@pytest.mark.parametrize(
    ("kind", "namespace", "known"),
    [
        ("rolebindings.rbac.authorization.k8s.io", "pay", False),
        ("rolebindings.rbac.authorization.k8s.io", "shop", True),
        ("clusterroles.rbac.authorization.k8s.io", "", False),
        (CONSTRAINTS, "", False),
        ("pods", "", True),
    ],
)
def test_a_gap_may_hide_a_grant(kind: str, namespace: str, known: bool) -> None:
    """So that nobody knows whether it is refused."""
    there = variant(only(shipped(gaps=(Gap(kind, namespace, "forbidden", "may not be listed"),))), PAY)
    assert there is not None
    assert (there.why == "") is known


# Requests -----------------------------------------------------------------------------------------------------------


def test_only_pods_are_looked_at() -> None:
    """Not what is in no namespace, nor deletions; ephemeral containers only by some versions of OpenShift."""
    policy = only(shipped())
    bad = creation(HOST)
    assert variant(policy, Space.of("", None)) is None
    assert verdict(policy, replace(bad, operation="DELETE")) == ADMITS
    assert verdict(policy, replace(bad, subresource="status")) == ADMITS
    assert verdict(policy, replace(bad, operation="UPDATE")) == REFUSES
    assert verdict(policy, replace(bad, operation="UPDATE", subresource="ephemeralcontainers")).refuses is None
    assert verdict(policy, replace(creation(), operation="UPDATE", subresource="ephemeralcontainers")) == ADMITS
    assert [*policies(snapshot([lets("anyuid", account("pay", "app"))]))] == []


def test_its_policy_names_what_decides() -> None:
    """What is shipped and who may use it."""
    policy = only(shipped())
    assert policy.keys[0] == Key(CONSTRAINTS, "", "restricted-v2")
    assert Key("clusterrolebindings.rbac.authorization.k8s.io", "", f"{USE}restricted-v2") in policy.keys
    assert policy.through == Through("SecurityContextConstraints", "", "restricted-v2")


def test_many_grants_stay_cheap() -> None:
    """With 1,000 namespaces that each have a grant, a namespace costs microseconds."""
    many = [lets("anyuid", account(f"n{number}", "app"), namespace=f"n{number}") for number in range(1000)]
    policy = only(shipped(*many))
    start = time.process_time()
    found = [variant(policy, Space.of(f"n{number}", {"annotations": UIDS})) for number in range(1000)]
    assert time.process_time() - start < 0.2
    assert {len(one.exemptions) for one in found if one is not None} == {1}
