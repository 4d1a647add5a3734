"""What the API server refuses is no grant and no policy: the same objects, sent to a real one and read here."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from posture.collect import objects
from posture.kinds import BY_KIND, BY_NAME, RBAC, malformed
from posture.model import Key
from posture.network.policies import compiled
from tests.controlplane.client import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.controlplane.controlplane import ControlPlane

LEFT_OUT = object()
GOOD = {"kind": "User", "apiGroup": RBAC, "name": "ann"}
REFERENCES = [
    {"apiGroup": group, "kind": kind, "name": "view"}
    for group, kind in product((RBAC, "", LEFT_OUT, "rbac", "v1"), ("ClusterRole", "Role", "clusterrole", "", LEFT_OUT))
] + [{"apiGroup": RBAC, "kind": "ClusterRole", "name": name} for name in ("", LEFT_OUT)]
SUBJECTS = [
    {"kind": kind, "apiGroup": group, "namespace": namespace, "name": "api"}
    for kind, group, namespace in product(
        ("User", "Group", "ServiceAccount", "user", "", LEFT_OUT), (RBAC, "", LEFT_OUT, "v1"), ("default", "", LEFT_OUT)
    )
] + [{"kind": kind, "namespace": "default", "name": name}
     for kind in ("User", "ServiceAccount") for name in ("", LEFT_OUT)]  # fmt: skip
# How an account is spelled is not looked at: the server refuses `*` where posture reads a grant that nobody can use.


def there(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is left out."""
    return {name: value for name, value in fields.items() if value is not LEFT_OUT}


def bindings(kind: str) -> list[dict[str, Any]]:
    """Every reference with a good subject, a good reference with every subject, and what lacks one of the fields."""
    good = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}
    pairs = [(there(one), [GOOD]) for one in REFERENCES] + [(good, [GOOD, there(one)]) for one in SUBJECTS]
    fields = [{"roleRef": reference, "subjects": given} for reference, given in pairs]
    fields += [{"subjects": [GOOD]}, {"roleRef": good}, {"roleRef": good, "subjects": None}, {"roleRef": {}}]
    return [{"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": {"name": "b"}, **one} for one in fields]


@pytest.mark.parametrize("kind", ["RoleBinding", "ClusterRoleBinding"])
def test_a_binding_is_misshapen_exactly_where_the_server_refuses_it(control_plane: ControlPlane, kind: str) -> None:
    """Asked as a dry run."""
    where = f"/apis/{RBAC}/v1/" + (
        "namespaces/default/rolebindings" if kind == "RoleBinding" else "clusterrolebindings"
    )
    different = []
    every = bindings(kind)
    for one in every:
        refused, _ = asked(control_plane, where, one)
        read = malformed(BY_KIND[RBAC, kind], one) or objects.misshapen(BY_KIND[RBAC, kind], one)
        if bool(refused) != bool(read):
            different.append((one, refused, read))
    assert different == []
    assert len(every) > 100


def asked(plane: ControlPlane, where: str, one: Mapping[str, Any]) -> tuple[str, Any]:
    """Why a server refuses an object, and what it would store, asked as a dry run."""
    try:
        return "", plane.request("POST", f"{where}?dryRun=All", one)
    except RefusedError as error:
        return str(error), None


# NetworkPolicies ----------------------------------------------------------------------------------------------------

ODD: Any = (None, "x", "", 5, 5.5, True, [], ["x"], [None], [[]], {}, {"x": "y"})
"""Values of every type of JSON: where another one is due, they are refused, but null, which is none."""
LABELS = ("a", "a.b/c", "A_b.c-d", "", "/", "a/", "/a", "a/b/c", "A.b/c", "-a", "a-", "a b", "\u00e4",
          "a" * 63, "a" * 64, f"{'a.' * 126}a/b", f"{'a.' * 126}aa/b", "a\n")  # fmt: skip
SELECTORS = [
    {}, {"x": 5}, {"matchLabels": {"a": "b"}, "matchExpressions": []}, {"matchLabels": {"a": None}}, *ODD,
    *({"matchLabels": odd} for odd in ODD), *({"matchLabels": {"a": odd}} for odd in ODD),
    *({"matchExpressions": odd} for odd in ODD), *({"matchLabels": {label: "v"}} for label in LABELS),
    *({"matchLabels": {"k": label}} for label in LABELS),
    *({"matchExpressions": [{"key": label, "operator": "Exists"}]} for label in LABELS),
    *({"matchExpressions": [there({"key": "a", "operator": operator, "values": values})]}
      for operator in ("In", "NotIn", "Exists", "DoesNotExist", "in", "Gt", "", None, LEFT_OUT, 5)
      for values in (["b"], [], LEFT_OUT, None, [""], [None], ["b", "b"], [5], ["b", "c d"], "b", {})),
    {"matchExpressions": [{"operator": "Exists"}]}, {"matchExpressions": [{"key": None, "operator": "Exists"}]},
]  # fmt: skip
CIDRS = ("10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "::/0", "2001:db8::/32", "2001:DB8:0::/32", "::1/128", "10.0.0.0",
         "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "/8", "10.0.0/8", "10.0.0.0.0/8", "10.0.0.256/32", " 10.0.0.0/8",
         "10.0.0.0/8 ", "10.0.0.0/255.0.0.0", "10.0.0.0/+8", "10.0.0.0/8/8", "fe80::%eth0/64", "::/129", "1:::/64",
         "::1", "host/8", "\u0661.0.0.0/8", "10.0.0.0/\u0668", "1::2::3/128", "12345::/16", "::10.0.0.0/104",
         "1:2:3:4:5:6:7::/112", "2001:db8::/032x", "")  # fmt: skip
SLOPPY = ("10.0.0.5/8", "010.0.0.0/8", "10.000.00.0/08", "2001:db8::1/32", "::ffff:10.0.0.0/104", "::10.0.0.00/104",
          "00001::/16", "10.08.09.0/24", "01.2.3.4/32", "::1.02.3.4/128", "::ffff:0:0/96")  # fmt: skip
EXCEPTIONS = [
    ("10.0.0.0/8", "10.1.0.0/16"), ("10.0.0.0/8", "10.0.0.0/8"), ("10.0.0.0/8", "0.0.0.0/0"), ("::/0", "10.0.0.0/8"),
    ("10.0.0.0/8", "11.0.0.0/16"), ("10.0.0.0/8", "2001:db8::/64"), ("2001:db8::/32", "2001:db8::/33"),
    ("x", "10.0.0.0/8"), ("2001:db8::/32", "2001:db9::/64"), ("0.0.0.0/0", "::/1"),
    ("10.0.0.0/32", "10.0.0.0/32"), ("10.0.0.0/8", ""),
    ("10.0.0.0/8", "10.0.0.0/9"), ("10.128.0.0/9", "10.0.0.0/10"), ("10.0.0.0/8", "10.1.0.0"),
]  # fmt: skip
BLOCKS = [
    *ODD, *({"cidr": cidr} for cidr in CIDRS), *({"cidr": odd} for odd in ODD),
    *({"cidr": cidr, "except": [one]} for cidr, one in EXCEPTIONS),
    *({"cidr": "10.0.0.0/8", "except": odd} for odd in ODD),
    {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.0.0/16", "10.1.2.0/24"]}, {"except": ["10.0.0.0/8"]},
    {"cidr": "10.0.0.0/8", "excepted": ["10.0.0.0/16"]},
]  # fmt: skip
BLOCK = {"cidr": "10.0.0.0/8"}
PEERS: list[Any] = [
    *ODD, {"podSelector": {}}, {"podSelector": None}, {"podSelector": None, "namespaceSelector": {}}, {"ipBlock": None},
    {"ipBlock": BLOCK}, {"ipBlock": BLOCK, "podSelector": {}}, {"ipBlock": BLOCK, "podSelector": None},
    {"ipBlock": BLOCK, "namespaceSelector": {}}, {"ipBlock": None, "podSelector": {}}, {"ipBlock": BLOCK, "x": 5},
    {"podSelector": {}, "namespaceSelector": {"matchLabels": {"a": "b"}}}, {"ipblock": BLOCK}, {"x": 5},
    {"ipBlock": BLOCK, "podSelector": {}, "namespaceSelector": {}},
]  # fmt: skip
NUMBERS = (LEFT_OUT, 1, 80, 90, 65535, 0, -1, 65536, 1 << 31, 1 << 40)
NAMES = (
    "http",
    "a",
    "80",
    "8a",
    "a-b",
    "a--b",
    "-a",
    "a-",
    "Http",
    "a_b",
    "",
    "abcdefghijklmno",
    "abcdefghijklmnop",
    "a\n",
)
PORTS = [
    *ODD, *({"protocol": odd} for odd in (*ODD, "TCP", "UDP", "SCTP", "tcp", "ICMP")), *({"port": odd} for odd in ODD),
    *({"port": 80, "endPort": odd} for odd in ODD), *({"port": name} for name in NAMES),
    *(there({"port": port, "endPort": last}) for port, last in product(NUMBERS, NUMBERS)),
    {"port": "http", "endPort": 80}, {"port": None, "endPort": 80}, {"port": 80, "endPort": "90"}, {"endport": 90},
]  # fmt: skip
TYPES = ["Ingress", "Egress", "ingress", "", None]
RULES: list[Any] = [*ODD, {"ports": [], "from": []}, {"ports": None, "to": None}, {"x": 5}]


def specs() -> list[Any]:
    """Everything above, each where it belongs, and what can be wrong around it."""
    found: list[Any] = [{}, {"podSelector": {}, "x": 5}, {"ingress": None, "egress": None}, {"egress": []}]
    found += [{"egress": [{}]}, {"egress": [{}], "policyTypes": []}, {"ingress": [{}], "egress": [{}, {}]}, *ODD]
    found += [{"policyTypes": list(types)} for size in range(4) for types in product(TYPES, repeat=size)]
    found += [{field: odd} for field in ("podSelector", "ingress", "egress", "policyTypes") for odd in ODD]
    found += [{"podSelector": selector} for selector in SELECTORS]
    for direction, others in (("ingress", "from"), ("egress", "to")):
        found += [{direction: [rule]} for rule in RULES]
        found += [{direction: [{field: odd}]} for field in ("ports", others) for odd in ODD]
        found += [{direction: [{others: [{"podSelector": {}}, peer]}]} for peer in PEERS]
        found += [{direction: [{"ports": [{"port": 80}, port]}]} for port in PORTS]
    found += [{"egress": [{"to": [{field: selector}]}]}
              for field in ("podSelector", "namespaceSelector") for selector in SELECTORS]  # fmt: skip
    found += [{"egress": [{"to": [{"ipBlock": block}]}]} for block in BLOCKS]
    return found


def sloppy() -> list[Any]:
    """Ranges that every server had taken before 1.36, which may be in any cluster still."""
    blocks: list[Any] = [{"cidr": cidr} for cidr in SLOPPY]
    blocks += [{"cidr": "10.0.0.5/8", "except": ["010.1.0.0/16"]}, {"cidr": "10.1.0.0/8", "except": ["10.200.0.1/16"]}]
    blocks += [{"cidr": "10.0.0.0/8", "except": ["::ffff:10.1.0.0/112"]}]
    return [{"egress": [{"to": [{"ipBlock": block}]}]} for block in blocks]


def compared(plane: ControlPlane, given: Iterable[Any]) -> list[tuple[Any, str, str]]:
    """The specs that only one of a server and posture refuses, and those that the server would store otherwise."""
    kind, different = BY_NAME["networkpolicies.networking.k8s.io"], []
    for spec in given:
        one = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec}
        refused, stored = asked(plane, "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", one)
        read = malformed(kind, one) or objects.misshapen(kind, one)
        if bool(refused) != bool(read):
            different.append((spec, refused, read))
        elif stored and objects.normal(kind, one)["spec"] != stored["spec"]:
            different.append((spec, str(stored["spec"]), str(objects.normal(kind, one)["spec"])))
    return different


def test_a_network_policy_is_misshapen_exactly_where_the_server_refuses_it(control_plane: ControlPlane) -> None:
    """And what it takes is read as it would store it: with its defaults, without what means nothing."""
    every = specs()
    assert compared(control_plane, every) == []
    assert len(every) > 900


def test_a_range_that_only_older_servers_take_is_read() -> None:
    """Update validation lets it stay in a cluster for ever, so nobody can say that it is refused."""
    kind = BY_NAME["networkpolicies.networking.k8s.io"]
    assert [objects.misshapen(kind, {"metadata": {"name": "p"}, "spec": spec}) for spec in sloppy()] == [""] * 14


def test_whatever_ranges_are_taken_the_engine_reads() -> None:
    """A policy that the server holds and the engine cannot read would protect nobody here."""
    kind, taken = BY_NAME["networkpolicies.networking.k8s.io"], 0
    for spec in [*specs(), *sloppy()]:
        one = {"metadata": {"name": "p", "namespace": "a"}, "spec": spec}
        if not objects.misshapen(kind, one):
            assert compiled(Key(kind.name, "a", "p"), objects.normal(kind, one)).error == ""
            taken += 1
    assert taken > 200


@pytest.mark.prove
def test_older_servers_refuse_the_same_network_policies(control_plane_of: Callable[[str], ControlPlane]) -> None:
    """1.34 validates no range strictly yet."""
    assert compared(control_plane_of("1.34"), [*specs(), *sloppy()]) == []
