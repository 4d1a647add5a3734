"""What runs in a cluster: the image's steps, the manifests, and the CronJob's command with its own permissions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from posture import __version__
from tests.controlplane.client import RefusedError
from tests.controlplane.controlplane import ControlPlane
from tests.operations.watcher import Watcher

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SOMEBODY = 65532
"""The user of the image; nobody here has this number."""
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def manifests(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def pod_spec() -> dict[str, Any]:
    """The pod that the CronJob starts."""
    found: dict[str, Any] = manifests("cronjob.yaml")[0]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


def following_spec() -> dict[str, Any]:
    """The pod of the Deployment."""
    found: dict[str, Any] = manifests("watch/deployment.yaml")[0]["spec"]["template"]["spec"]
    return found


def scanning() -> list[str]:
    """The CronJob's command, at once."""
    args: list[str] = list(pod_spec()["containers"][0]["args"])
    args[args.index("--jitter") + 1] = "0"
    return args


def posture(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "posture", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | env, timeout=300)


# The image's steps --------------------------------------------------------------------------------------------------


def as_somebody(command: Sequence[str | Path], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without a name, a home or a right, where this process may become one."""
    become: dict[str, Any] = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd="/", umask=0o022,
        env={"PATH": "/usr/bin:/bin", **env}, **become,
    )  # fmt: skip


def chmod(mode: str, *folders: Path) -> None:
    subprocess.run(["chmod", "-R", mode, *filter(Path.exists, folders)], check=True)


def wanted_by_the_image(root: Path) -> Iterator[Path]:
    """What .dockerignore lets through."""
    for line in (root / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line.startswith("!"):
            yield Path(line[1:])


def python_for_everyone(folder: Path) -> tuple[Path, dict[str, str]]:
    """An interpreter that any user can run, and what its environment needs: this one, or a copy of it."""
    prefix = Path(sys.base_prefix)
    base = prefix / "bin" / f"python3.{sys.version_info.minor}"
    if as_somebody(["sh", "-c", '"$0" -c "import ensurepip"', str(base)]).returncode == 0:
        return base, {}
    copy = folder / "python"
    # Files of the standard library: a link costs nothing, and reading is all that anybody does with them.
    with suppress(OSError):
        shutil.copytree(prefix, copy, symlinks=True, copy_function=os.link,
                        ignore=shutil.ignore_patterns("test", "site-packages", "share"))  # fmt: skip
    if not (copy / "bin" / base.name).exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(prefix, copy, symlinks=True, ignore=shutil.ignore_patterns("test", "site-packages", "share"))
    return copy / "bin" / base.name, {"LD_LIBRARY_PATH": str(copy / "lib")}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pinned packages, fetched once by whoever runs the tests: the steps themselves need no network."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--dest", str(folder)]
    for name in ("build-requirements.txt", "requirements.txt"):
        done = subprocess.run([*command, "--requirement", DEPLOY / name], capture_output=True, text=True, check=False)
        if "Could not find a version" in done.stderr and "connection" in done.stderr.lower():
            pytest.skip("no package registry can be reached to fetch the image's packages from")
        assert done.returncode == 0, done.stderr
    return folder


class Image:
    """A folder in which the image's steps have run, and its user."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.env = env | {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(folder / "tmp")}

    def run(self, program: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the image with no home, and nothing but the database's folder to write to."""
        command: list[str | Path] = [self.folder / "posture" / "bin" / program, *args]
        return as_somebody(command, **self.env, POSTURE_DB=str(self.data / "posture.db"))


@pytest.fixture(scope="module")
def image(wheels: Path) -> Iterator[Image]:
    """What the Dockerfile does, in a clean folder, as a user who may write nowhere else."""
    folder = Path(tempfile.mkdtemp(prefix="posture-image-"))
    try:
        folder.chmod(0o755)
        for wanted in wanted_by_the_image(ROOT):
            target = folder / "source" / wanted
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / wanted).is_dir():
                shutil.copytree(ROOT / wanted, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / wanted, target)
        shutil.copytree(ROOT / "examples" / "prod-eu" / "2026-10-13", folder / "manifests")
        shutil.copytree(wheels, folder / "wheels")
        chmod("a+rX", folder)
        python, env = python_for_everyone(folder)
        for name in ("build", "data", "tmp"):
            (folder / name).mkdir()
            if os.geteuid() == 0:
                os.chown(folder / name, SOMEBODY, SOMEBODY)
        target = folder / "build" / "posture"
        done = as_somebody(
            [folder / "source" / "deploy" / "image.sh", folder / "source", target], **env, PYTHON=str(python),
            TMPDIR=str(folder / "tmp"), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder / "wheels"),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "posture").symlink_to(target)
        chmod("a-w", folder / "build", folder / "source", folder / "tmp")
        yield Image(folder, env)
    finally:
        chmod("u+w", folder / "build", folder / "source", folder / "tmp")
        shutil.rmtree(folder, ignore_errors=True)


def test_the_image_scans_with_nothing_but_its_database_to_write_to(image: Image) -> None:
    """From the image's installation, as its user, without a home: a scan, the baseline and a second scan work."""
    scan = ("scan", "--from", str(image.folder / "manifests"), "--cluster", "prod-eu")

    first = image.run("posture", *scan)
    approved = image.run("posture", "baseline", "approve", "--by", "dana")
    second = image.run("posture", *scan)

    assert (first.returncode, approved.returncode, second.returncode) == (0, 0, 0), first.stderr + second.stderr
    assert "no baseline yet" in first.stdout
    assert "0 new, 0 open" in second.stdout
    assert (image.data / "posture.db").exists()


def test_the_image_says_what_is_missing_in_one_sentence(image: Image) -> None:
    """Who approves is not known in a container, and a database that cannot be written is exit code 4, not a trace."""
    image.run("posture", "scan", "--from", str(image.folder / "manifests"))

    nobody = image.run("posture", "baseline", "approve")
    readonly = image.run("posture", "scan", "--from", str(image.folder / "manifests"), "--db", "/posture.db")

    assert (nobody.returncode, readonly.returncode) == (2, 4), nobody.stderr + readonly.stderr
    assert "--by" in nobody.stderr
    assert "Traceback" not in nobody.stderr + readonly.stderr


def test_the_image_holds_what_posture_needs_and_no_more(image: Image) -> None:
    """The data is inside, development tools are not, and nothing is imported from the working directory."""
    code = (
        "import importlib.util, sys; from posture import resources;"
        "assert list((resources.checks() / 'rbac').iterdir()) and (resources.baselines() / 'defaults').is_dir();"
        "assert '' not in sys.path;"
        "unwanted = 'pytest', 'mypy', 'setuptools', 'tests', 'bench', 'tui', 'checks';"
        "print([name for name in unwanted if importlib.util.find_spec(name)])"
    )

    done = image.run("python", "-c", code)

    assert done.stdout == "[]\n", done.stderr


def test_the_image_evaluates_expressions(image: Image) -> None:
    """The extra `cel` is in it, with all that it needs to answer."""
    code = (
        "from posture import cel; from posture.cel.environment import Program;"
        "print(cel.installed(), Program(variables=[], expressions=['1 + 1 == 2'], hidden=[]).answers({}))"
    )

    done = image.run("python", "-c", code)

    assert done.stdout == "True [True]\n", done.stderr


def test_the_dockerfile_runs_these_steps_and_the_cronjobs_command() -> None:
    """The Dockerfile is the script, a user with a number, and the CronJob's database and command but for its flags."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    steps = [line.partition(" ")[::2] for line in text.splitlines() if line and not line.startswith("#")]
    found = dict(steps)
    container = pod_spec()["containers"][0]

    assert ("RUN", "deploy/image.sh /source /opt/posture") in steps
    assert found["USER"] == f"{SOMEBODY}:{SOMEBODY}"
    assert pod_spec()["securityContext"]["runAsUser"] == SOMEBODY
    assert json.loads(found["ENTRYPOINT"]) == ["posture"]
    assert json.loads(found["CMD"]) == container["args"][:1] == ["scan"]
    assert f"POSTURE_DB={container['env'][0]['value']}" in found["ENV"].split()
    assert "PYTHONSAFEPATH=1" in found["ENV"].split()
    assert re.fullmatch(r"python:3\.\d+-slim", found["ARG"].partition("=")[2])


def pins(path: Path) -> dict[str, str]:
    """Each package of a requirements file, with its version, marker and hashes."""
    blocks = re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip())
    return {block.partition("==")[0]: block for block in blocks}


def test_the_images_packages_are_those_that_were_tested() -> None:
    """Versions and hashes are those of requirements.txt; nothing that posture[cel] needs is left out."""
    every, mine = pins(ROOT / "requirements.txt"), pins(DEPLOY / "requirements.txt")
    missing, todo = set(), ["posture"]
    while todo:
        for line in distribution(todo.pop()).requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": "cel"}):
                name = re.sub(r"[-_.]+", "-", needed.name).lower()
                if name not in missing:
                    missing.add(name)
                    todo.append(name)

    assert mine.items() <= every.items(), "run `make pin`"
    assert missing <= mine.keys(), "run `make pin`"
    assert pins(DEPLOY / "build-requirements.txt").items() <= every.items(), "run `make pin`"


# The manifests ------------------------------------------------------------------------------------------------------


def test_the_clusterrole_is_what_posture_says_it_needs() -> None:
    """deploy/clusterrole.yaml is the output of `posture clusterrole`, byte for byte."""
    assert (DEPLOY / "clusterrole.yaml").read_text(encoding="utf-8") == posture("clusterrole").stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own, on which deploy/ is applied with `kubectl apply -k`; it keeps an audit log."""
    policy = tmp_path_factory.mktemp("audit") / "policy.yaml"
    policy.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}))
    flags = [f"--audit-policy-file={policy}", "--audit-log-path=audit.log"]
    with ControlPlane(apiserver_flags=flags) as plane:
        plane.kubectl("apply", "-k", str(DEPLOY))
        yield plane


def create(plane: ControlPlane, spec: dict[str, Any]) -> Any:
    """Ask the API server, with all of its admission, whether a pod could be created."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "posture-"}, "spec": spec}
    return plane.request("POST", "/api/v1/namespaces/posture/pods?dryRun=All", pod)


@pytest.mark.parametrize("where", ["cronjob", "deployment", "cli"])
def test_pods_are_admitted_where_pod_security_is_restricted(cluster: ControlPlane, where: str) -> None:
    """The pods of the CronJob and the Deployment, and the one to ask in, pass Pod Security `restricted`, which is
    enforced there.
    """
    cli: dict[str, Any] = manifests("cli.yaml")[0]["spec"]
    spec = {"cronjob": pod_spec(), "deployment": following_spec(), "cli": cli}[where]

    assert create(cluster, spec)["spec"]["containers"][0]["image"] == f"posture:{__version__}"

    for loosened in ("capabilities", "allowPrivilegeEscalation"):
        other = deepcopy(spec)
        del other["containers"][0]["securityContext"][loosened]
        with pytest.raises(RefusedError, match='violates PodSecurity "restricted'):
            create(cluster, other)


def test_the_pod_mounts_only_what_was_applied(cluster: ControlPlane) -> None:
    """The claim, the configuration and the account that the CronJob names exist once deploy/ is applied."""
    spec = cluster.request("GET", "/apis/batch/v1/namespaces/posture/cronjobs/posture")["spec"]["jobTemplate"]["spec"]
    spec = spec["template"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    names = {
        "persistentvolumeclaims": volumes["database"]["persistentVolumeClaim"]["claimName"],
        "configmaps": volumes["config"]["configMap"]["name"],
        "serviceaccounts": spec["serviceAccountName"],
    }

    for resource, name in names.items():
        found = cluster.request("GET", f"/api/v1/namespaces/posture/{resource}/{name}")
        assert found["metadata"]["name"] == name
    data = cluster.request("GET", f"/api/v1/namespaces/posture/configmaps/{names['configmaps']}")["data"]
    environment = {var["name"]: var["value"] for var in spec["containers"][0]["env"]}
    assert environment["POSTURE_CONFIG"].removeprefix("/etc/posture/") in data


# The command, with its own permissions ------------------------------------------------------------------------------


@pytest.fixture
def environment(cluster: ControlPlane, tmp_path: Path) -> dict[str, str]:
    """The CronJob's environment: the ServiceAccount's real token, its configuration, a database of its own."""
    access = json.loads(cluster.kubeconfig().read_text(encoding="utf-8"))
    access["users"][0]["user"] = {"token": cluster.token("posture", "posture")}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(access), encoding="utf-8")
    return {
        "KUBECONFIG": str(kubeconfig),
        "POSTURE_CONFIG": str(DEPLOY / "config" / "config.yaml"),
        "POSTURE_DB": str(tmp_path / "posture.db"),
    }


def gaps(environment: dict[str, str]) -> list[Any]:
    report = posture("report", "-o", "json", **environment)
    assert report.returncode == 0, report.stderr
    found: list[Any] = json.loads(report.stdout)["gaps"]
    return found


def test_the_cronjobs_command_reads_everything_with_its_own_account(
    cluster: ControlPlane, environment: dict[str, str]
) -> None:
    """With the permissions of deploy/ and no others, the CronJob's command exits 0 and leaves no gap."""
    done = posture(*scanning(), **environment)

    assert done.returncode == 0, done.stdout + done.stderr
    assert gaps(environment) == []


WATCHING = {
    f"{RBAC}/clusterroles": {"metadata": {"name": "seen"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
    "/api/v1/namespaces/posture/serviceaccounts": {"metadata": {"name": "seen"}},
    "/apis/networking.k8s.io/v1/namespaces/posture/networkpolicies": {
        "metadata": {"name": "seen"}, "spec": {"podSelector": {}},
    },
}  # fmt: skip


def test_the_deployments_command_follows_everything_with_its_own_account(
    cluster: ControlPlane, environment: dict[str, str]
) -> None:
    """With the permissions of deploy/ and no others it leaves no gap, is refused nothing, and sees what happens."""
    args = list(following_spec()["containers"][0]["args"])
    args[args.index("--listen") + 1] = "127.0.0.1:0"
    assert args.pop(0) == "watch"
    audited = cluster.folder / "audit.log"
    before = audited.stat().st_size
    with Watcher(*args, **environment) as watcher:
        watcher.until("ready")
        assert watcher.get("/readyz").status == 200
        number = len(watcher.events("revision"))
        for path, content in WATCHING.items():
            cluster.request("POST", path, content)
            number += 1
            watcher.until("revision", number)
        assert not watcher.events("gap") + watcher.events("trouble") + [{"said": line} for line in watcher.other]
        assert watcher.stop()[0] == 0
    assert gaps(environment) == []
    asked = [json.loads(line) for line in audited.read_bytes()[before:].splitlines()]
    mine = [event for event in asked if event["user"]["username"] == "system:serviceaccount:posture:posture"]
    assert {event["verb"] for event in mine} == {"get", "list", "watch"}
    assert {event["responseStatus"]["code"] for event in mine if "responseStatus" in event} <= {200, 304}
    needed = {(group, resource) for rule in manifests("clusterrole.yaml")[0]["rules"] if "resources" in rule
              for group in rule["apiGroups"] for resource in rule["resources"]}  # fmt: skip
    resources = {(event["objectRef"].get("apiGroup", ""), event["objectRef"]["resource"]) for event in mine
                 if "resource" in event.get("objectRef", ())}  # fmt: skip
    assert resources <= needed


def test_the_deployment_takes_the_cronjobs_place(cluster: ControlPlane, tmp_path: Path) -> None:
    """With `components: [watch]` the API server gets the Deployment and its Service instead of the CronJob."""
    folder = tmp_path / "deploy"
    shutil.copytree(DEPLOY, folder)
    file = folder / "kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    assert "\n# components: [watch]\n" in text
    file.write_text(text.replace("# components:", "components:"), encoding="utf-8")
    made = [one for one in yaml.safe_load_all(cluster.kubectl("kustomize", str(folder)).stdout) if one]
    kinds = {one["kind"]: one for one in made}
    assert "CronJob" not in kinds
    assert cluster.kubectl("apply", "--dry-run=server", "-k", str(folder)).stdout.count("created (server dry run)") == 2
    deployment, pod = kinds["Deployment"], kinds["Deployment"]["spec"]["template"]
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert kinds["Service"]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert container["args"][container["args"].index("--listen") + 1] == ":8080"
    assert {probe: container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")} == {
        "livenessProbe": {"path": "/healthz", "port": "http"}, "readinessProbe": {"path": "/readyz", "port": "http"},
    }  # fmt: skip
    cronjob, known = pod_spec(), pod["spec"]
    assert {name: known[name] for name in ("securityContext", "serviceAccountName")} == {
        name: cronjob[name] for name in ("securityContext", "serviceAccountName")
    }
    for field in ("env", "volumeMounts", "securityContext", "image"):
        assert container[field] == cronjob["containers"][0][field], field
    volumes = {volume["name"]: volume for volume in known["volumes"]}
    assert volumes["config"]["configMap"]["name"].startswith("posture-")  # the name that the generator gave


def test_the_cronjob_is_given_the_time_that_it_may_take() -> None:
    """Jitter and deadline end before Kubernetes ends the Job: then it is the scan that says why."""
    args = pod_spec()["containers"][0]["args"]
    job = manifests("cronjob.yaml")[0]["spec"]
    taken = sum(int(args[args.index(flag) + 1]) for flag in ("--jitter", "--deadline"))
    assert taken + 60 < job["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 3600
    assert (job["concurrencyPolicy"], job["startingDeadlineSeconds"]) == ("Forbid", 600)


def test_a_verb_that_is_taken_away_is_a_gap_with_a_name(cluster: ControlPlane, environment: dict[str, str]) -> None:
    """Without `list` on rolebindings the same command exits 3 and says what it could not read."""
    path = f"{RBAC}/clusterroles/posture"
    whole = cluster.request("GET", path)
    less = deepcopy(whole)
    del less["metadata"]["resourceVersion"], less["metadata"]["managedFields"]
    rule = next(one for one in less["rules"] if "rolebindings" in one.get("resources", ()))
    rule["resources"].remove("rolebindings")
    less["rules"].append({**rule, "resources": ["rolebindings"], "verbs": ["get", "watch"]})
    cluster.request("PUT", path, less)
    try:
        done = posture(*scanning(), **environment)
    finally:
        del whole["metadata"]["resourceVersion"]
        cluster.request("PUT", path, whole)

    assert done.returncode == 3, done.stdout + done.stderr
    assert "gap   rolebindings.rbac.authorization.k8s.io: forbidden" in done.stdout
    assert [(gap["resource"], gap["reason"]) for gap in gaps(environment)] == [
        ("rolebindings.rbac.authorization.k8s.io", "forbidden")
    ]
