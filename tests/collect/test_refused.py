"""What the API server refuses is no grant: the same bindings, sent to a real one and read from a folder."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from posture.collect import objects
from posture.kinds import BY_KIND, RBAC, malformed
from tests.controlplane.client import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        try:
            control_plane.request("POST", f"{where}?dryRun=All", one)
            refused = ""
        except RefusedError as error:
            refused = str(error)
        read = malformed(BY_KIND[RBAC, kind], one) or objects.misshapen(BY_KIND[RBAC, kind], one)
        if bool(refused) != bool(read):
            different.append((one, refused, read))
    assert different == []
    assert len(every) > 100
