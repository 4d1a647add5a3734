"""make demo: five weeks of a cluster, scanned day by day with the real commands, and what came of it.

Nothing here is a shortcut: what is printed after `$` is what is run. No cluster and no network are needed.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import date
from pathlib import Path

COLUMNS = 80
ROOT = Path(__file__).parents[1]
DATABASE = "posture-demo.db"
CONFIG = "examples/config.yaml"
OWN_CLUSTER = (
    "unset POSTURE_DB POSTURE_CONFIG POSTURE_NOW",
    "posture scan",
    'posture baseline approve --reason "what we know of today"',
    "posture scan   # a week later",
)
CLUSTER = "--cluster prod-eu --kubernetes-version 1.36"


class DemoError(Exception):
    """A command did not end as it should."""


class Demo:
    """Runs commands as somebody would who types them, in the checkout, with the clock at the day of the story."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.env = os.environ | {
            "POSTURE_DB": database, "POSTURE_CONFIG": CONFIG, "COLUMNS": str(COLUMNS),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }  # fmt: skip

    def say(self, text: str = "") -> None:
        """A paragraph of the story."""
        print(textwrap.fill(" ".join(text.split()), COLUMNS), flush=True)

    def day(self, when: str, title: str) -> None:
        """A heading; from here on the clock shows nine o'clock of that day."""
        self.env["POSTURE_NOW"] = f"{when}T09:00:00Z"
        heading = f"== {date.fromisoformat(when):%a} {when}: {title} "
        print(f"\n{heading:=<{COLUMNS}}\n", flush=True)

    def run(self, *lines: str) -> None:
        """Show a command, which may take several lines, and run it. Raises DemoError when it fails."""
        text = " \\\n    ".join(lines)
        print(f"\n$ {text}", flush=True)
        done = subprocess.run(["sh", "-c", text], env=self.env, cwd=ROOT, check=False)
        if done.returncode:
            raise DemoError(f"{text}\nended with exit code {done.returncode}")

    def finding(self, subject: str, through: str) -> str:
        """The id of an open finding, as a person would read it in `posture findings list --members`."""
        command = ["posture", "findings", "list", "--members", "-o", "json"]
        done = subprocess.run(command, env=self.env, cwd=ROOT, check=True, capture_output=True, text=True)
        for one in json.loads(done.stdout):
            if (one["subject"], one["through"]["name"]) == (subject, through):
                return str(one["id"])[:12]
        raise DemoError(f"no open finding of {subject} through {through}")

    def scan(self, when: str, *, whole: bool) -> None:
        """Scan the snapshot of a day; show all of the result, or its first lines."""
        self.run(f"posture scan --from examples/prod-eu/{when} --at {when}", CLUSTER + ("" if whole else " | head -4"))


def story(demo: Demo) -> None:
    """What happened."""
    demo.say("""A cluster, prod-eu, and five weeks in it. Every line after $ is a command that you can type yourself;
        POSTURE_NOW sets the clock to each day of the story, so that it reads the same tomorrow.""")
    demo.run(f"export POSTURE_DB={shlex.quote(demo.database)} POSTURE_CONFIG={CONFIG}")

    demo.day("2026-10-13", "the audit is over")
    demo.say("""Four engines refuse what they should at admission: Pod Security, Kyverno in the namespaces of products,
        Gatekeeper, and a ValidatingAdmissionPolicy. Payments hears from the bank through a load balancer, over a
        VPN; the jobs of checkout have a namespace of their own. Without a baseline nothing is called drift: checks
        say what deserves a look. It was looked at, and the platform agrees to what is possible today.""")
    demo.scan("2026-10-13", whole=True)
    demo.run('posture baseline approve --by dana --reason "after the audit"')

    demo.day("2026-10-16", "an incident")
    demo.say("""On Thursday night checkout was down. Somebody gave its pods the debugger's role and, to be sure, let
        every namespace in to its database. For a toolbox that runs as root Kyverno's policy was set from Enforce to
        Audit: that is four products, and not the fifth, as a label of Payments has Pod Security refuse the same. The
        same evening Flux wrote the rules of a role in another order and split them; nobody needs to hear of that.""")
    demo.scan("2026-10-16", whole=True)

    demo.day("2026-10-20", "convenience")
    demo.say("""Kyverno refuses again, and the toolbox has an exception until the end of October. A role that five teams
        share got exec for one afternoon. The bank has new addresses, so the worker of payments may call every address.
        CI builds with Docker: the Pod Security label of its namespace is privileged, Gatekeeper leaves it out, and
        whoever takes its runner over has a node. CI may now make preview environments, too: that is wanted for a
        while, so it is accepted until a date, with a reason. More than that is not.""")
    demo.scan("2026-10-20", whole=False)
    accepted = demo.finding("serviceaccount:ci/runner", "ci-preview")
    demo.run(f"posture findings accept {accepted} --until 2026-12-01 --by dana",
             '--reason "previews, until the virtual clusters are there"')  # fmt: skip

    demo.day("2026-10-23", "a chart asks for everything")
    demo.say("""A new version of a chart brings a wildcard. Catalog renames a role that grants what it granted, splits
        a network policy in two and renames another: silent. The toolbox is gone; its exception is not.""")
    demo.scan("2026-10-23", whole=False)

    demo.day("2026-10-27", "a new namespace")
    demo.say("""Flux put the shared role back: five findings are resolved. Catalog opened a namespace like its other
        one, with the same roles and policies: that is growth, not drift. To profile builds, any pod with a label may
        now share the node's processes. Catalog resizes images as root, with an exception of which nobody wrote down
        whose it is. The exporter of payments got an identity in the cloud, and the team looks into it.""")
    demo.scan("2026-10-27", whole=False)
    seen = demo.finding("serviceaccount:payments/exporter", "exporter")
    demo.run(f"posture findings ack {seen} --by lee", '--reason "which buckets does it need?"')

    demo.day("2026-11-03", "for everyone")
    demo.say("""The chart was rolled back. A status page is granted to everyone who logs in, and a vendor's group is
        bound to a role that is not there yet. The debugging access now goes through a role of another name: still
        the same finding, since the first day. Payments moved its ledger to another port and closed the old one.
        Catalog opened to everyone what is labelled for debugging, which is no pod so far. The end of the toolbox's
        exception is past. Payments got one as well: it opens nothing, and is not drift. And the bank gave its VPN
        up: what receives its calls now lets its public addresses in.""")
    demo.scan("2026-11-03", whole=False)

    demo.day("2026-11-10", "beyond what was accepted")
    demo.say("""The exception of CI can read Secrets by now, which nobody accepted: it is back, as widened. For a
        dashboard the namespace of CI was labelled as production, which payments lets in. CI builds without Docker:
        nothing needs any more what three engines opened for it, and all of it is still there. And somebody made the
        default account of reports an editor; nobody wrote down whose reports is. Checkout lets what receives the
        bank's calls start its jobs, so that an order is closed as soon as the money is there.""")
    demo.scan("2026-11-10", whole=False)

    demo.day("2026-11-17", "five weeks later")
    demo.say("""The shared role has exec again, for catalog's new namespace too. The vendor's chart brought the role
        that had been granted already. The policy that denies by default is gone from search, and the exception of its
        indexer is for every pod there. The platform's profiler traces the jobs of checkout: it needs one capability
        there, and has an exception for it that says all that an exception should. What drifted, since when, by whom,
        whose it is, and what it makes possible together with what others changed:""")
    demo.scan("2026-11-17", whole=True)
    ending(demo)


def ending(demo: Demo) -> None:
    """How to get back, and what to do next."""
    debug = demo.finding("serviceaccount:checkout/api", "support-tools")
    print()
    demo.say("Why, whose, and since when: the debugging access that stayed.")
    demo.run(f"posture findings show {debug}")
    print()
    demo.say("What became of the exception that was accepted.")
    demo.run(f"posture findings history {demo.finding('serviceaccount:ci/runner', 'ci-preview')}")
    print()
    demo.say("How to get back. The fix was tried in memory: the finding is gone, and nothing else is opened.")
    demo.run(f"posture findings show --fix {debug}")
    demo.run(f"posture findings show --fix {demo.finding('workload:checkout/db[StatefulSet]', 'db')}")
    print()
    together(demo)
    print()
    demo.say("All of it, for people and for tickets:")
    demo.run("posture findings list")
    print()
    demo.say("Who may talk to whom: which policies decide it at both ends, and the tightest edit that would close it.")
    demo.run("posture explain flow reports/worker checkout/db 5432 --why", "--snapshot latest | head -8")
    print()
    demo.say("What was opened in the network since the audit, and what was closed in return:")
    demo.run("posture report -o markdown | sed '1,/^## Balance/d; /^## E/,$d' | fold -sw 80")
    print()
    demo.say("""What takes somebody out of a policy, whatever the engine. Five weeks after the audit nobody uses four of
        these exceptions:""")
    demo.run("posture exceptions list --state unused --snapshot latest")
    print()
    demo.say("Why a pod that runs as root is admitted in catalog, and which policy would refuse it:")
    demo.run("posture explain admission catalog/resizer --snapshot latest")
    print("\nTry next, in this folder:\n", flush=True)
    for line in next_commands(demo):
        print(f"    {line}")
    print("\nOn your own cluster, with the kubeconfig that you have (it only reads):\n")
    for line in OWN_CLUSTER:
        print(f"    {line}")


def together(demo: Demo) -> None:
    """The path that three changes make, which no domain shows alone."""
    demo.say("""Three teams changed one thing each, in three weeks. None was alarming: an address range, jobs that may
        be started, one capability. On the day of the third the outside can get the cluster:""")
    demo.run(f"posture findings show {demo.finding('namespace:checkout-jobs', 'profiler')}")
    path = "posture explain path --source outside --sink cluster-admin"
    demo.run(path, "--snapshot latest")
    demo.run(path, "--cut --snapshot latest")


def next_commands(demo: Demo) -> list[str]:
    """What a reader may type after the demo."""
    return [
        'export PATH="$PWD/.venv/bin:$PATH"',
        f"export POSTURE_DB={shlex.quote(demo.database)} POSTURE_CONFIG={CONFIG}",
        f"export POSTURE_NOW={demo.env['POSTURE_NOW']}",
        "posture findings list --owner platform",
        "posture diff @2026-10-13 @2026-11-17",
        "posture who-can get secrets -n checkout --snapshot latest",
        "posture explain access create pods/exec -n search --as-group search-devs \\",
        "    --as ann --snapshot latest",
        "posture explain flow ci/runner payments/api 8080 --snapshot latest",
        "posture explain path --blast payments/callbacks --snapshot latest",
        "posture exceptions show --snapshot latest \\",
        "    PolicyException/checkout/incident-4711",
        "posture explain admission ci/runner --snapshot latest",
        "posture owners suggest",
        "posture report -o markdown",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the database's path may be given."""
    given = sys.argv[1:] if arguments is None else arguments
    database = given[0] if given else DATABASE
    for suffix in ("", "-wal", "-shm", ".lock"):
        (ROOT / f"{database}{suffix}").unlink(missing_ok=True)
    try:
        story(Demo(database))
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
