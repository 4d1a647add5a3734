"""OPA Gatekeeper: what each constraint refuses, and all that takes something out of it.

Source: Gatekeeper v3.23.0 and open-policy-agent/frameworks, constraint/pkg (v0.0.0-20260616163050); each module names
its files. A constraint refuses through the webhook. The ValidatingAdmissionPolicy that Gatekeeper makes of one is an
object of its own, judged as such: what is denied at `vap.k8s.io` alone is not denied here. Rego is opaque.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from posture.admission.cel import Evaluator
from posture.admission.engines import liveness
from posture.admission.pods import mapping, mappings
from posture.admission.policy import Asked, Exemption, Policy, Space, Variant, Verdict
from posture.kinds import CONSTRAINTS as GROUP
from posture.model import Content, Gap, Key, Snapshot, Through

from . import exemptions, rules, templates, webhook
from .match import Match, words
from .rules import Rule
from .webhook import CONFIGS, CONFIGURATIONS, WEBHOOK, Webhook

NAME = "gatekeeper"
CONSTRAINTS = f"*.{GROUP}"
TEMPLATES = "constrainttemplates.templates.gatekeeper.sh"
EXPANSIONS = "expansiontemplate.expansion.gatekeeper.sh"
READS = (CONSTRAINTS, TEMPLATES, CONFIGS, EXPANSIONS, CONFIGURATIONS, *liveness.READS)


class _Cluster(NamedTuple):
    """What is common to all constraints. `keys` are the objects that decide of all of them."""

    webhook: Webhook
    common: exemptions.Ways
    numbers: Mapping[str, int]
    expanded: frozenset[tuple[str, str]]
    doubt: str
    keys: tuple[Key, ...]


class _State(NamedTuple):
    """Whether Gatekeeper has taken a template: None where nobody can say."""

    taken: bool | None
    why: str = ""


def policies(snapshot: Snapshot) -> Iterator[Policy]:
    """One for each constraint, in the order of kinds and names."""
    constraints = sorted(snapshot.objects(CONSTRAINTS), key=lambda one: one[0].name)
    if not constraints:
        return
    found = webhook.find(snapshot)
    gap = snapshot.gap(CONFIGS, found.namespace) or snapshot.gap(CONFIGURATIONS)
    doubt = f"{gap.resource}: {gap.message}" if gap else ""
    keys = (*found.keys, *sorted(key for key, _ in snapshot.objects(EXPANSIONS)))
    cluster = _Cluster(found, *exemptions.common(snapshot, found), _expanded(snapshot), doubt, keys)
    known: dict[str, tuple[templates.Template, Content | None, _State]] = {}
    for key, content in constraints:
        kind = key.name.partition("/")[0]
        if kind not in known:
            known[kind] = _template(snapshot, kind)
        yield _policy(cluster, key, content, kind, *known[kind])


def variant(policy: Policy, space: Space) -> Variant | None:
    """What a constraint is in a namespace; None where it is not meant for that."""
    rule: Rule = policy.rule
    return rule.variant(space)


def judged(asked: Sequence[Asked], cel: Evaluator) -> list[Verdict]:
    """For each question, in order, whether its constraint refuses the request."""
    return rules.judged(asked, cel)


def gaps(snapshot: Snapshot) -> Iterator[Gap]:
    """A row for each kind of reason for which nobody can say what constraints refuse, or whom."""
    found = Counter(policy.opaque for policy in policies(snapshot) if policy.opaque)
    for why, count in sorted(found.items()):
        many = "1 constraint" if count == 1 else f"{count} constraints"
        yield Gap(CONSTRAINTS, "", "not modelled", f"what {many} of Gatekeeper {_verb(count)} is unknown: {why}")
    if any(True for _ in snapshot.objects(CONSTRAINTS)) and webhook.find(snapshot).others:
        yield Gap(CONFIGURATIONS, "", "not modelled", f"several webhooks {WEBHOOK} ask Gatekeeper: one is evaluated")


def strays(snapshot: Snapshot) -> Iterator[Exemption]:
    """What Gatekeeper's Config excludes from constraints where there are none."""
    if not snapshot.index.get(CONFIGS) or snapshot.index.get(CONSTRAINTS):
        return
    ways, _ = exemptions.common(snapshot, webhook.find(snapshot))
    for one in ways.exemptions:
        if one.through.kind == "Config":
            yield replace(one, idle=one.idle or "there is no constraint")


def _verb(count: int) -> str:
    return "refuses" if count == 1 else "refuse"


def denies(spec: Mapping[str, Any]) -> bool:
    """Whether a constraint's violations are refused by the webhook, rather than warned of or written down."""
    action = spec.get("enforcementAction", "deny")
    if action != "scoped":
        return bool(action == "deny")
    return any(
        one.get("action") == "deny" and any(point.get("name") in (WEBHOOK, "*") for point in _points(one))
        for one in mappings(spec.get("scopedEnforcementActions"))
    )


def _points(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return mappings(one.get("enforcementPoints"))


def _expanded(snapshot: Snapshot) -> frozenset[tuple[str, str]]:
    """The (group, kind) of what ExpansionTemplates apply to."""
    return frozenset(
        (group, kind)
        for _, content in snapshot.objects(EXPANSIONS)
        for one in mappings(mapping(content.get("spec")).get("applyTo"))
        for group in words(one.get("groups"))
        for kind in words(one.get("kinds"))
    )


def _template(snapshot: Snapshot, kind: str) -> tuple[templates.Template, Content | None, _State]:
    """A template is named like the kind that it makes, in lower case."""
    key = Key(TEMPLATES, "", kind.lower())
    content = snapshot.get(key)
    if content is None:
        if gap := snapshot.gap(TEMPLATES):
            return templates.Template(key, opaque=f"its template: {gap.message}"), None, _State(True)
        return templates.Template(key), None, _State(False, "its template does not exist")
    template = templates.read(key, content, kind)
    if template.refused:
        return template, content, _State(False, template.refused)
    created = mapping(content.get("status")).get("created")
    if created is False:
        return template, content, _State(False, "Gatekeeper has not taken its template")
    entry = snapshot.entry(key)
    if created is None and entry is not None and entry.uid:  # a server has it, and leaves out what is false
        return template, content, _State(None, "Gatekeeper does not say that it has taken its template")
    return template, content, _State(True)


def _policy(cluster: _Cluster, key: Key, content: Content, kind: str, template: templates.Template,
            read: Content | None, state: _State) -> Policy:  # fmt: skip
    spec, hook = mapping(content.get("spec")), cluster.webhook
    match = Match.of(spec.get("match"))
    parameters = template.parameters(spec.get("parameters"))
    opaque = template.opaque or (f"its {match.malformed} is not one of the API" if match.malformed else "")
    opaque = opaque or ("a selector of Gatekeeper's webhook is not one of the API" if hook.malformed else "")
    first = len(cluster.common.exemptions)
    own = exemptions.own(first, key, content, match, template, read)
    rule = Rule(
        hook, cluster.common, cluster.numbers, own, match, template, parameters,
        state.why if state.taken is False else "", opaque, cluster.doubt, cluster.expanded,
    )  # fmt: skip
    up, fails_open, why = _liveness(hook, state)
    return Policy(
        NAME,
        Through(kind, "", key.name.partition("/")[2]),
        (key, *([template.key] if read is not None else []), *cluster.keys),
        rule,
        _content(match, template, parameters, read),
        denies(spec),
        up,
        fails_open,
        why or cluster.doubt,
        opaque,
        (*cluster.common.exemptions, *own.ways.exemptions),
        rule.users,
        names=rule.names,
        fails=rule.fails,
    )


def _liveness(hook: Webhook, state: _State) -> tuple[bool | None, bool, str]:
    """Whether a constraint is asked, whether what is not asked of it is admitted, and why.

    Without its template it is asked nothing, even by a webhook that fails closed.
    """
    if state.taken or (state.taken is None and hook.open and hook.up is False):
        return hook.up, hook.open, hook.why
    return state.taken, True, state.why


def _content(match: Match, template: templates.Template, parameters: Any, read: Content | None) -> tuple[Any, ...]:
    """What decides what is refused: the expressions, or where these are not known the whole template."""
    given = {name: one for name, one in mapping(parameters).items() if name != "exemptImages"}
    kept = orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
    code: tuple[Any, ...] = (template.closed, template.validations, template.variables, template.operations)
    if template.opaque and read is not None:
        code = (orjson.dumps(mapping(read.get("spec")).get("targets"), option=orjson.OPT_SORT_KEYS),)
    return code, kept, match.kinds, match.scope, match.name, match.source
