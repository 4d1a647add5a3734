"""CEL as Kubernetes has it: what expressions give, what stays unknown, and what an evil one costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from posture.admission.cel import (
    Answer,
    Missing,
    Program,
    Question,
    Value,
    about_itself,
    about_name,
    about_namespace,
    about_user,
    namespace_mark,
)
from posture.admission.policy import Space
from posture.cel import Process

OBJECT: dict[str, Any] = {
    "name": "web-1",
    "count": 3,
    "ratio": 0.5,
    "items": [3, 1, 2],
    "empty": [],
    "mixed": [1, "a"],
    "nothing": None,
    "map": {"a": "b"},
    "cpu": "500m",
    "uid": "here",
}


@pytest.fixture(scope="module")
def cel() -> Iterator[Process]:
    """An evaluator in a process of its own."""
    with Process() as running:
        yield running


def asked(cel: Process, expression: str, inputs: dict[str, Any] | None = None, **program: Any) -> Answer:
    """What one expression gives of OBJECT, and of other inputs."""
    values = {name: Value(value) for name, value in {"object": OBJECT, **(inputs or {})}.items()}
    return cel.answers([Question(Program((expression,), **program), values)])[0][0]


TRUE = (
    "object.count == 3 && object.ratio < 1.0 && object.nothing == null",
    "object.?missing.orValue(1) == 1 && !has(object.missing)",
    "object.items.all(i, x, x > i - 3)",
    "object.items.sum() == 6 && object.items.max() == 3 && object.items.min() == 1 && !object.items.isSorted()",
    "object.items.sort().isSorted() && object.empty.isSorted()",
    "sets.intersects(object.items, [9, 1])",
    "object.name.find('[0-9]+') == '1' && object.name.find('z') == ''",
    "'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b22'.findAll('[0-9]+', 1) == ['1']",
    "'xaybx'.findAll('(a|b)[xy]') == ['ay', 'bx']",
    "'web-1'.split('-').join('/').replace('web', 'x').upperAscii() == 'X/1'",
    "quantity(object.cpu).isLessThan(quantity('1')) && quantity('1Gi') == quantity('1024Mi')",
    "quantity('1.5').add(1) == quantity('2500m') && quantity('2').sub(quantity('500m')).compareTo(quantity('1')) == 1",
    "quantity('2k').asInteger() == 2000 && !quantity('1500m').isInteger() && sign(quantity('-1')) == -1",
    "isQuantity('1e3') && isQuantity('.5') && isQuantity('5.') && !isQuantity('1 Gi') && !isQuantity('1KI')",
    "ip('::1') == ip('0:0::1') && ip('10.0.0.1').family() == 4 && ip('127.0.0.1').isLoopback()",
    "isIP('1.2.3.4') && !isIP('1.2.3.04') && !isIP('fe80::1%eth0') && !isIP('::ffff:1.2.3.4')",
    "ip('224.0.0.5').isLinkLocalMulticast() && !ip('255.255.255.255').isGlobalUnicast()",
    "ip('10.0.0.1').isGlobalUnicast() && ip('fe80::1').isLinkLocalUnicast() && ip('::').isUnspecified()",
    "ip.isCanonical('::1') && !ip.isCanonical('0:0::1')",
    "cidr('10.0.0.0/8').containsIP('10.1.1.1') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))",
    "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))",
    "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')",
    "isCIDR('::/0') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/08') && cidr('10.0.0.0/8').prefixLength() == 8",
    "url('https://a.b:8443/x/y?q=1&q=2').getHost() == 'a.b:8443' && url('https://a.b/x').getPort() == ''",
    "url('https://a.b:8443/x?q=1&q=2').getQuery()['q'] == ['1', '2'] && url('http://a/x/').getEscapedPath() == '/x/'",
    "isURL('https://a.b') && !isURL('nothing')",
    "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))",
    "isSemver('1.0.0-a.b+c') && !isSemver('v1.0.0') && !isSemver('1.02.0') && semver('1.2.3').minor() == 2",
    "'%s is %d'.format(['it', 3]) == 'it is 3'",
)


@pytest.mark.parametrize("expression", TRUE)
def test_what_holds(cel: Process, expression: str) -> None:
    """Each is true for the API server too."""
    assert asked(cel, expression) == Answer("true")


ERRORS = (
    "object.missing == 1",
    "object.map.missing == 'x'",
    "object.name > 1",
    "object.items[7] == 1",
    "1 / object.empty.size() == 1",
    "quantity(object.name) == quantity('1')",
    "ip('1.2.3') == ip('1.2.3.4')",
    "object.empty.max() == 1",
    "object.mixed.max() == 1",
    "object.missing == 1 || false",
    "quantity('1500m').asInteger() == 1",
)


@pytest.mark.parametrize("expression", ERRORS)
def test_errors_that_the_server_has_too(cel: Process, expression: str) -> None:
    """An error is told from what is not known: it counts as the failure policy says."""
    assert asked(cel, expression).outcome == "error"


UNKNOWN = (
    ("request.operation == 'CREATE'", "request is not known"),
    ("object.missing == 1 || request.operation == 'CREATE'", "request is not known"),
    ("authorizer.group('').resource('pods').check('get').allowed()", "authorizer is not known"),
    ("object.uid == 'here'", "it reads uid, which is not kept"),
    ("object['uid'] == 'here'", "it reads uid, which is not kept"),
    ("object == {'a': 1}", "it compares all fields"),
    ("object.metadata.exists(f, f == 'labels')", "it compares all fields"),
    ("format.named('dns1123Label').hasValue()", "it does not compile here"),
    ("url('https://user@a.b').getHost() == 'a.b'", "is not one of plain letters"),
    ("object.items.indexOf(object.count) == 0", "No matching overloads"),
    ("'aaa'.findAll('x*').size() == 4", "matches an empty text"),
    ("object.empty.sum() == 0", "the sum of an empty list"),
    ("has(object.count.x)", "it asks for a field of what has none"),  # the server: false
    ("object.count.?x.hasValue()", "it asks for a field of what has none"),
    ("object.count[?'x'].hasValue()", "it asks for a field of what has none"),
    ("uint(1) + 1u == 2u", "unsigned numbers"),
    ("lists.range(9000).all(a, lists.range(9000).all(b, a == b || a != b))", "Iteration budget exceeded"),
)


@pytest.mark.parametrize(("expression", "why"), UNKNOWN)
def test_what_cannot_be_told(cel: Process, expression: str, why: str) -> None:
    """It is unknown, with the reason; never a guess."""
    answer = asked(cel, expression, hidden=("uid",))

    assert answer.outcome == "unknown"
    assert why in answer.why


@pytest.mark.parametrize(
    "expression",
    [
        "true || request.name == ''",
        "request.name == '' || true",
        "!(false && authorizer.path('/').check('get').allowed())",
    ],
)
def test_what_is_not_known_decides_only_where_it_matters(cel: Process, expression: str) -> None:
    """Three values: what holds whatever the unknown is, holds."""
    assert asked(cel, expression) == Answer("true")


VARIABLES = (("one", "object.count"), ("two", "variables.one + 1"), ("bad", "object.missing"), ("who", "request.name"),
             ("list", "object.items.map(x, x * 2)"), ("perhaps", "object.?missing"))  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ("variables.two == 4", "true"),
        ("variables.list.all(x, x > 1) && variables.one == 3", "true"),
        ("variables.bad == 1", "error"),
        ("variables.one == 3 || variables.bad == 1", "true"),
        ("variables.who == 'x'", "unknown"),
        ("variables.bad == 1 || variables.who == 'x'", "unknown"),
        ("variables.perhaps.hasValue()", "unknown"),
        ("variables.nobody == 1", "unknown"),
    ],
)
def test_variables_are_lazy(cel: Process, expression: str, outcome: str) -> None:
    """One that fails or is not known matters to those that need it, and to no other."""
    assert asked(cel, expression, variables=VARIABLES).outcome == outcome


def test_answers_come_in_order_and_are_remembered(cel: Process) -> None:
    """Of equal inputs an expression is evaluated once; inputs that it does not name make no difference."""
    program = Program(("object.count > 1", "object.count > 5", "object.name"))
    questions = [Question(program, {"object": Value({"count": number % 7, "name": "x"})}) for number in range(1000)]
    found = cel.answers(questions)

    assert [tuple(one.outcome for one in answers) for answers in found] == [
        ("true" if number % 7 > 1 else "false", "true" if number % 7 > 5 else "false", "text") for number in range(1000)
    ]
    cel.close()
    assert cel.answers([Question(program, {**questions[0].inputs, "request": Value({"name": "new"})})]) == found[:1]
    assert cel.pid is None  # nobody had to be asked


def test_without_the_extra_everything_is_unknown() -> None:
    """A library that is not installed is said to be missing."""
    program = Program(("true", "false"))

    assert Missing().answers([Question(program, {})]) == [(Answer("unknown", Missing.WHY),) * 2]


# What answers may depend on -----------------------------------------------------------------------------------------

SAME_EVERYWHERE = (
    "true",
    "object.spec.containers.all(c, !has(c.securityContext) || c.securityContext.?privileged.orValue(false) == false)",
    "has(object.metadata) && has(object.metadata.labels) && object.metadata.labels['team'] == 'pay'",
    "object.metadata.?labels[?'team'].orValue('') in ['pay'] && object.?spec.?hostPID.orValue(false)",
    "oldObject == null || object != null && oldObject.metadata.name == object . metadata . name",
    "request.operation == 'DELETE' || request.?subResource.orValue('') == '' || 'a' in request.userInfo.groups",
    "object.metadata.name.startsWith('x') && params.spec.max > 1",
)
NOT_EVERYWHERE = (
    "object.metadata.namespace == 'x'",
    "object.metadata.?namespace.orValue('') == 'x'",
    "object.metadata['namespace'] == 'x'",
    "object.metadata['name' + 'space'] == 'x'",
    "object['meta' + 'data']['name' + 'space'] == 'x'",
    "object.metadata[?'name\\x73pace'].orValue('') == 'x'",
    "request.__namespace__ == 'x'",
    "namespaceObject.metadata.labels.team == 'pay'",
    "request['name' + 'space'] == 'x'",
    "object.metadata.exists(k, k == 'x')",
    "object.exists(k, object[k] == 'x')",
    "object.transformList(k, v, v).exists(v, v == 1)",
    "object.metadata .\n exists (k, k == 'x')",
    "object == oldObject",
    "cel.bind(o, object, o.metadata.name == '')",
    "[object][0].spec.x == 1",
    "dyn(object).spec.x == 1",
    "object.metadata == oldObject.metadata",
    "object // == null\n == oldObject",
    "object.`metadata`[k] == 'x'",
    "authorizer.requestResource.check('get').allowed()",
)


@pytest.mark.parametrize("expression", SAME_EVERYWHERE)
def test_what_answers_alike_in_every_namespace(expression: str) -> None:
    """Fields are named, and none of them is about the namespace."""
    assert not about_namespace(Program((expression,)))
    assert not about_namespace(Program((), (("v", expression),)))


@pytest.mark.parametrize("expression", NOT_EVERYWHERE)
def test_what_may_depend_on_the_namespace(expression: str) -> None:
    """It is named, or nobody can say which fields are looked at."""
    assert about_namespace(Program(("true", expression)))
    assert about_namespace(Program(("true",), (("v", expression),)))


ANY = "has(request.operation) && request.operation == 'DELETE' && object == null ? oldObject : object"


@pytest.mark.parametrize(
    ("variables", "expression", "depends"),
    [
        ((("any", ANY),), "variables.any.spec.hostPID == false", False),
        ((("any", ANY),), "has(variables.any.metadata.labels) && variables.any.?spec.hasValue()", False),
        ((("any", ANY),), "variables.any.metadata[k] == ''", True),
        ((("any", ANY),), "variables.any['meta' + 'data'].x == ''", True),
        ((("any", ANY),), "variables.any.exists(k, k == '')", True),
        ((("any", ANY),), "variables.any == oldObject", True),
        ((("any", ANY),), "variables.?any.value().spec.x == 1", True),
        ((("any", ANY),), "variables['any'].spec.x == 1", True),
        ((("any", ANY), ("anything", "1")), "variables.anything == 1", False),
        ((("o", "object"), ("p", "variables.o")), "variables.p.spec.x == 1", False),
        ((("o", "object"), ("p", "variables.o")), "variables.p == 1", True),
        ((("o", "[object]"),), "true", True),
        ((("o", "has(object.x) ? [object] : object"),), "true", True),
        ((("c", "object.spec.containers"),), "variables.c.all(c, c.name != '')", False),
    ],
)
def test_a_variable_may_be_the_object_itself(
    variables: tuple[tuple[str, str], ...], expression: str, depends: bool
) -> None:
    """What is asked of the object is asked of it then."""
    assert about_namespace(Program((expression,), variables)) is depends


@pytest.mark.parametrize(
    ("expression", "depends"),
    [
        ("object.metadata.name == request.name", False),
        ("request.operation in ['CREATE']", False),
        ("request.userInfo.username == 'x'", True),
        ("request.__userInfo__.username == 'x'", True),
        ("request['user' + 'Info'].username == 'x'", True),
        ("request.exists(k, k == 'x')", True),
        ("request == request", True),
        ("authorizer.path('/').check('get').allowed()", True),
    ],
)
def test_what_may_depend_on_who_asks(expression: str, depends: bool) -> None:
    """The user is in the request, and the authorizer is asked for him."""
    assert about_user(Program((expression,))) is depends
    assert about_user(Program((), (("v", expression),))) is depends


LABELS = {"env": "prod", "team": "pay", "kubernetes.io/metadata.name": "a"}
SPACE = Space("a", LABELS, {"note": "n"})
WHOLE = (("a", *sorted(LABELS.items())), (("note", "n"),))
ENV, NAME = ("", (("env", "prod"),)), ("a", ())


@pytest.mark.parametrize(
    ("expression", "mark"),
    [
        ("object.spec.hostPID == false", None),
        ("namespaceObject != null && has(namespaceObject.metadata.labels)", None),
        ("namespaceObject.metadata.labels.env == 'prod'", ENV),
        ("namespaceObject.metadata.labels['env'].startsWith('p')", ENV),
        ('namespaceObject.metadata.?labels[?"env"].orValue(\'\') == \'\'', ENV),
        ("namespaceObject.?metadata.?labels.?env.hasValue()", ENV),
        ("has(namespaceObject.metadata.labels.env) && namespaceObject.metadata.labels.env != ''", ENV),
        ("!('env' in namespaceObject.metadata.labels)", ENV),
        ("true && 'env' in namespaceObject.metadata.labels", ENV),
        ("namespaceObject.metadata.labels[\"no-such\"] == ''", ("", (("no-such", None),))),
        ("namespaceObject.metadata.labels.env + namespaceObject.metadata.labels['team'] == ''",
         ("", (("env", "prod"), ("team", "pay")))),
        ("request.namespace == 'a'", NAME),
        ("object.metadata.namespace in ['a']", NAME),
        ("namespaceObject.metadata.name == 'a'", NAME),
        ("object[variables.x] == 'a'", NAME),
        ("namespaceObject.metadata.labels.env == 'prod' || request.namespace == 'b'", ("a", (("env", "prod"),))),
        ("namespaceObject.metadata.labels.exists(k, k == 'env')", WHOLE),
        ("namespaceObject.metadata.labels[variables.key] == 'x'", WHOLE),
        ("namespaceObject.metadata.labels['e' + 'nv'] == 'x'", WHOLE),
        ("namespaceObject.metadata.labels[r'env'] == 'x'", WHOLE),
        ("namespaceObject.metadata.labels['''env'''] == 'x'", WHOLE),
        ("namespaceObject.metadata.labels == {'env': 'prod'}", WHOLE),
        ("'e' + 'nv' in namespaceObject.metadata.labels", WHOLE),
        ("'e' + // (\n 'nv' in namespaceObject.metadata.labels", WHOLE),
        ("'env' in namespaceObject.metadata.labels.map(k, k)", WHOLE),
        ("namespaceObject.metadata.annotations['note'] == 'n'", WHOLE),
        ("namespaceObject.metadata.?labels.orValue({}).size() == 0", WHOLE),
        ("namespaceObject.metadata.namespace == ''", WHOLE),
        ("authorizer.group('').resource('pods').namespace(request.namespace).check('get').allowed()", WHOLE),
    ],
)  # fmt: skip
def test_what_of_a_namespace_matters(expression: str, mark: Any) -> None:
    """Labels by constant keys and the name are told apart from all else."""
    assert namespace_mark(Program((expression,)), SPACE) == mark
    assert namespace_mark(Program(("true",), (("v", expression),)), SPACE) == mark


@pytest.mark.parametrize(
    ("expression", "name", "itself"),
    [
        ("object.spec.containers.all(c, c.name != '')", False, True),
        ("object.spec.hostPID == false", False, False),
        ("object.metadata.labels.app == 'x'", False, True),
        ("object.metadata.name == 'x'", True, True),
        ("has(object.metadata.generateName)", True, True),
        ("oldObject.metadata.?name.orValue('') == ''", True, True),
        ("request.name == 'x'", True, True),
        ("object.metadata.ownerReferences.all(o, o.kind == 'x')", True, True),
        ("object['meta' + 'data'].x == ''", True, True),
        ("variables.any == 1", False, False),
        ("authorizer.path('/').check('get').allowed()", True, False),
    ],
)
def test_what_may_depend_on_what_an_object_is_called(expression: str, name: bool, itself: bool) -> None:
    """And on the metadata that tell one namespace from another, where the object is one."""
    assert about_name(Program((expression,))) is name
    assert about_itself(Program((expression,))) is itself


# Evil ---------------------------------------------------------------------------------------------------------------

BIG = {"list": list(range(3000)), "text": "a" * 1_000_000}
EVIL = {
    "nested comprehensions": "object.list.all(a, object.list.all(b, object.list.all(c, a + b + c >= 0)))",
    "a regular expression in a loop": "lists.range(9000).all(i, object.text.matches('(a|aa)+$') && i >= 0)",
    "a regular expression that explodes": "object.text.matches('((a{0,100}){0,100}){0,100}$')",
    "texts that grow": "lists.range(9).map(a, lists.range(9).map(b, lists.range(9).map(c, object.text + object.text)))"
    ".size() == 9",
    "texts in texts": "object.text.replace('a', object.text).size() > 0",
    "a list without end": "lists.range(4000000000).size() > 0",
    "deep": "(" * 5000 + "true" + ")" * 5000,
    "long": "true" + " && true" * 20_000,
    "no CEL at all": "\x00\ud800)".encode("utf-8", "replace").decode(),
    "quantities": "quantity('9' + object.text).isInteger()",
    "found in a loop": "lists.range(9000).all(i, object.text.findAll('a').size() > i)",
}


@pytest.mark.parametrize("name", EVIL)
def test_an_evil_expression_costs_only_itself(name: str) -> None:
    """Bounded time, and the programs before and after it are answered."""
    good, after = Program(("object.list.size() == 3000",)), Program(("object.text.size() == 1000000",))
    inputs = {"object": Value(BIG)}
    start = time.monotonic()
    with Process(seconds=1.0, largest=1 << 30) as cel:
        found = cel.answers([Question(one, inputs) for one in (good, Program((EVIL[name],)), after)])
        again = cel.answers([Question(Program((EVIL[name],)), {"object": Value({**BIG, "other": True})})])

    assert time.monotonic() - start < 6.0
    assert found[0] == found[2] == (Answer("true"),)
    assert found[1][0].outcome in ("unknown", "false")
    assert again[0][0].outcome == found[1][0].outcome


def test_what_the_server_might_stop_is_unknown(cel: Process) -> None:
    """Its limit is a cost that cannot be worked out here: what is slow or large may be an error there, or not."""
    large = {"object": {"text": "a" * 200_000}}
    slow = "lists.range(90).all(i, object.text.replace('a', 'bb').size() > i)"

    assert "it takes long" in asked(cel, slow, {"object": {"text": "a" * 120_000}}).why
    assert "is large" in asked(cel, "object.text.matches('(a|aa)+$')", large).why
    assert asked(cel, "request.name == 'x'", {**large, "request": {"name": "x"}}) == Answer("true")


def test_a_process_that_dies_is_started_again(cel: Process) -> None:
    """Whoever ends it from outside loses the program that it worked at, and nothing else."""
    assert asked(cel, "object.count == 3 && 1 == 1").outcome == "true"
    first = cel.pid
    assert cel._running is not None
    cel._running.kill()
    cel._running.wait()

    assert asked(cel, "object.count == 3 && 2 == 2").outcome == "unknown"
    assert asked(cel, "object.count == 3 && 3 == 3").outcome == "true"
    assert cel.pid not in (None, first)


def test_a_process_that_cannot_be_started_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is unknown, for that reason."""
    monkeypatch.setattr("posture.cel.sys.executable", "/bin/false")
    with Process() as cel:
        found = [asked(cel, "true"), asked(cel, "false")]

    assert found == [Answer("unknown", "the process that evaluates CEL cannot be started")] * 2


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="no /proc")
def test_the_process_inherits_nothing(cel: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """No environment variable reaches it, and memory and files are limited."""
    monkeypatch.setenv("KUBE_TOKEN", "secret")
    cel.close()
    assert asked(cel, "object.count == 3 && 4 == 4").outcome == "true"
    process = Path(f"/proc/{cel.pid}")
    limits = {line[:25].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()}

    assert b"KUBE_TOKEN" not in (process / "environ").read_bytes()
    assert limits["Max address space"] == str(1 << 30)
    assert limits["Max file size"] == "0"
    assert limits["Max cpu time"] != "unlimited"
