"""scan: one source, read, compared with what was agreed, and committed as one revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from posture import reading
from posture.authors import Authors
from posture.collect import Bodies, Facts, Problem, Source, collect
from posture.collect.audit import Record
from posture.drift.agreed import Agreed
from posture.drift.lifecycle import Event, Outcome
from posture.errors import UsageError
from posture.inputs import Inputs
from posture.kinds import BY_NAME
from posture.model import INCOMPLETE, Gap, Key, Snapshot, Version, differences, fingerprint
from posture.pipeline import DOMAINS, JUDGED, History, Judgement, judge
from posture.store import Store, baselines, decisions, findings, positions, snapshots
from posture.store.baselines import Approved
from posture.store.snapshots import Commit, Contents, Stored
from posture.text import parse_time, visible

LOCAL = "local"
NOT_EVALUATED = ("not modelled", "extra missing")
"""Gaps of what was read."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a scan is asked for beside its source.

    `cluster` names what cannot name itself, `time` is the moment (RFC 3339), `version` the server's for a folder.
    """

    time: str
    cluster: str = ""
    version: Version | None = None
    offline: bool = False


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan did: the revision, the snapshot, what happened to findings, and problems met on the way.

    `unagreed` are the gaps of the approved snapshot that this one does not have.
    """

    revision: int
    name: str
    snapshot: Snapshot
    approved: Approved | None
    unagreed: tuple[Gap, ...]
    files: tuple[str, ...]
    events: tuple[Event, ...]
    summary: Mapping[str, int]
    problems: Sequence[Problem]

    @property
    def missing(self) -> list[Gap]:
        """The gaps because of which the run could not judge."""
        return [gap for gap in self.snapshot.gaps if is_missing(gap)]


def is_missing(gap: Gap) -> bool:
    """Whether a gap stops a run from judging: it hides a kind that some domain cannot do without."""
    return gap.reason in INCOMPLETE and (gap.resource == "*" or any(gap.resource in d.READS for d in DOMAINS))


def scan(
    store: Store, source: Source, inputs: Inputs, request: Request, audits: Callable[[], Iterable[Record]] = tuple
) -> Scanned:
    """Read a source and commit what it means. The caller holds the store's lock. `audits` are read after the source.

    If objects, gaps, version and inputs are as they were, the stored findings stand and nothing is evaluated but
    expiry; findings that somebody else changed do not stand. Raises CannotJudge when nothing at all could be read.
    """
    before, snapshot = _read(store, source, inputs, request)
    cluster, last = snapshot.cluster, before.revision.time if before.revision else ""
    approved = baselines.latest(store, cluster)
    digest = fingerprint(inputs.digest, str(approved.id if approved else 0))
    seen = decisions.newest(store)
    intact = findings.untouched(store, cluster)
    if not intact:
        source.facts.problems.append(
            Problem(store.path, "its findings are not what was written; all is judged anew: run `posture db verify`")
        )
    authors = Authors(store, cluster)
    late = _late(store, cluster, authors, audits())
    authors.judging(differences(before.snapshot.index, snapshot.index, JUDGED), last, request.time)
    changed = not intact or bool(late) or not _unchanged(before, snapshot, digest, request.time)
    if changed:
        outcome, summary = _judged(store, snapshot, approved, inputs, request.time, last, authors)
    else:
        assert before.revision is not None
        outcome, summary = _expired(store, cluster, request.time, last), Counter(before.revision.summary)
        summary["objects"] = _number(snapshot)
    name = request.cluster or source.facts.name or cluster
    with store.transaction() as connection:
        if changed and decisions.newest(store) != seen:  # it may cover less than there is now, or agree to more
            approved = baselines.latest(store, cluster)
            digest = fingerprint(inputs.digest, str(approved.id if approved else 0))
            outcome, summary = _judged(store, snapshot, approved, inputs, request.time, last, authors)
        commit = Commit(request.time, source.title, name, not any(map(is_missing, snapshot.gaps)), digest, summary)
        number = snapshots.write(connection, before, snapshot, commit)
        findings.write(connection, cluster, outcome, number, request.time)
        findings.resave(connection, authors.passed(late) if late else ())
        authors.write(connection, number)
        positions.write(connection, cluster, {})  # a watcher must not go on from before this
    files, events = tuple(map(str, inputs.config.baseline)), tuple(outcome.events)
    unagreed = _unagreed(store, snapshot, approved)
    return Scanned(number, name, snapshot, approved, unagreed, files, events, summary, source.facts.problems)


def _late(store: Store, cluster: str, authors: Authors, records: Iterable[Record]) -> frozenset[Key]:
    """The objects that caused findings of which an audit log tells only now who changed them."""
    heard = [*records]
    known = [*findings.current(store, cluster).values(), *authors.lately()] if heard else []
    return authors.hear(heard, {cause.key for one in known for cause in one.causes})


def _unagreed(store: Store, snapshot: Snapshot, approved: Approved | None) -> tuple[Gap, ...]:
    if approved is None:
        return ()
    missed = snapshots.gaps(store, snapshots.revision(store, approved.revision))
    return tuple(
        gap for gap in missed
        if gap.reason not in NOT_EVALUATED and gap.resource in (*JUDGED, "*")
        and not any(one.covers(gap) for one in snapshot.gaps)
    )  # fmt: skip


def _judged(
    store: Store, snapshot: Snapshot, approved: Approved | None, inputs: Inputs, now: str, last: str, authors: Authors
) -> tuple[Outcome, Counter[str]]:
    """What a snapshot means beside what is known, and the counts of that."""
    cluster = snapshot.cluster
    agreed = agreed_of(store, snapshot, approved, inputs)
    current = findings.current(store, cluster)
    history = History(current, lambda mark: findings.known(store, cluster, mark), last, authors)
    judgement = judge(snapshot, agreed, history, inputs.rules, now)
    return judgement.outcome, counted(judgement, snapshot)


def counted(judgement: Judgement, snapshot: Snapshot) -> Counter[str]:
    """The counts of a run."""
    doubts = [*judgement.outcome.doubts.values(), *(one.gap for one in judgement.unknown)]
    unknown = sum(gap.reason not in NOT_EVALUATED for gap in doubts)
    counts = Counter(standing=len(judgement.standing), unknown=unknown, unevaluated=len(doubts) - unknown)
    if judgement.until:
        counts["until"] = int(parse_time(judgement.until).timestamp())
    counts["objects"] = _number(snapshot)
    return counts


def _number(snapshot: Snapshot) -> int:
    return sum(len(found) for resource, found in snapshot.index.items() if resource in BY_NAME)


def agreed_of(store: Store, snapshot: Snapshot, approved: Approved | None, inputs: Inputs) -> Agreed:
    """All that a snapshot is compared with: what was approved, and the files that agree."""
    return Agreed(
        ((baselines.snapshot(store, approved),) if approved else ()) + inputs.snapshots,
        inputs.bounds,
        inputs.shipped(snapshot.version),
        inputs.growth,
        inputs.peer_labels,
        baselines.apart(store, approved) if approved else frozenset(),
    )


def _read(store: Store, source: Source, inputs: Inputs, request: Request) -> tuple[Stored, Snapshot]:
    """The snapshot of a source, and what the store knew of its cluster."""
    loaded: dict[str, Stored] = {}

    def known(facts: Facts) -> Stored:
        cluster = identity(store, facts, request)
        if cluster not in loaded:
            loaded[cluster] = snapshots.load(store, cluster, snapshots.latest(store, cluster))
        return loaded[cluster]

    def put(bodies: Bodies) -> None:
        snapshots.put(store, bodies)

    contents = Contents(store)
    snapshot = reading.unevaluated(collect(source, lambda facts: known(facts).snapshot, put, contents))
    before = known(source.facts)
    refuse_taken_name(store, before.snapshot.cluster, request.cluster or source.facts.name)
    snapshot = replace(snapshot, cluster=before.snapshot.cluster, version=snapshot.version or request.version)
    if request.offline:
        return before, reading.completed(snapshot, inputs.shipped, put)
    return before, replace(snapshot, assumed=reading.unknown_version(snapshot.version))


def identity(store: Store, facts: Facts, request: Request) -> str:
    """The cluster's id: kube-system's uid, else the cluster that had this name before, else the name itself.

    Manifests are not the cluster: what uid somebody wrote into them does not choose whose baseline counts.
    """
    name = request.cluster or facts.name
    if facts.cluster and not request.offline:
        return facts.cluster
    return (snapshots.cluster_named(store, name) if name else None) or name or LOCAL


def refuse_taken_name(store: Store, cluster: str, name: str) -> None:
    """Two clusters of one name would take turns in every command that names one. Raises UsageError."""
    other = snapshots.cluster_named(store, name or cluster)
    if other is not None and other != cluster:
        raise UsageError(
            f"{visible(name or cluster, 60)} is already the cluster {visible(other, 60)}, "
            f"and this one is {visible(cluster, 60)}",
            "give this one another name with --cluster",
        )


def _unchanged(before: Stored, after: Snapshot, digest: str, now: str) -> bool:
    """Whether all that is judged is as it was; what differs in other kinds is stored, and nothing evaluated."""
    old = before.snapshot
    until = before.revision.summary.get("until") if before.revision else None
    return (
        before.revision is not None
        and before.revision.inputs == digest
        and (not until or parse_time(now).timestamp() < until)
        and (old.gaps, old.version, old.assumed) == (after.gaps, after.version, after.assumed)
        and next(differences(old.index, after.index, JUDGED), None) is None
    )


def _expired(store: Store, cluster: str, now: str, last: str) -> Outcome:
    """Acceptances that ran out since the last run."""
    outcome = Outcome()
    for row in findings.expiring(store, cluster, last, now):
        outcome.events.append(Event(row.fingerprint, "expired", f"accepted until {row.until}"))
    return outcome
