#!/usr/bin/env python3
"""Checks everything under deploy/ against schemas, the tools that read it, and the real server.

    make deploy-check

Dockerfiles by hadolint, compose files by compose-spec, manifests by kustomize and the schemas of
Kubernetes (kubernetes-validate), custom resources by scripts/crd-schemas.yaml, the unit by
systemd-analyze, rules and their tests by promtool; settings against `--help` of the binaries, and
the dashboard and the alerts against the /metrics of a server that has scored images. Nothing
leaves the machine.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
TOOLS = ROOT / "third_party/deploy-tools"
BIN = ROOT / "target/debug"
KUBERNETES = "1.37"
# What the server listens at and answers, by the names of its ports.
PORTS = {"grpc": 50051, "http": 9464}
PROBES = {"/healthz", "/livez"}
# How long it drains, in seconds, unless it is told otherwise.
DRAIN = {"LFBM_DRAIN_GRACE_S": 0, "LFBM_DRAIN_TIMEOUT_S": 20}
# The least time that a probe gives a server whose cores are all busy, and failures that it forgives.
PROBE_S, FORGIVEN = 5, 2
# Labels that Prometheus adds to what it scrapes.
TARGET_LABELS = {"instance", "job"}
# What systemd-analyze calls exposure, times ten.
MAX_EXPOSURE = 20

sys.path.insert(0, str(TOOLS))
sys.path.insert(0, str(ROOT / "scripts"))

problems: list[str] = []


def check(holds, problem: str):
    if not holds:
        problems.append(problem)


def tool(name: str, package: str) -> str:
    path = shutil.which(name, path=f"{ROOT / 'third_party/bin'}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        sys.exit(f"check-deploy: {name} was not found and the check needs it ({package})")
    return path


def run(*command, **options) -> str:
    """The command's output; a failure is a problem, with what it said."""
    command = [str(part) for part in command]
    result = subprocess.run(command, capture_output=True, text=True, **options)
    check(result.returncode == 0, f"{' '.join(command)}:\n{result.stdout}{result.stderr}")
    return result.stdout


def seconds(text: str) -> int:
    return int(re.fullmatch(r"(\d+)s", text).group(1))


def check_stop(what: str, stop_s: int, settings: dict):
    """A stop gives the server time for its drain; settings by their names in the environment."""
    drain_s = sum(int(settings.get(name, default)) for name, default in DRAIN.items())
    check(stop_s > drain_s, f"{what} of {stop_s} s is not longer than the drain of {drain_s} s")


def check_scaled(what: str, settings: dict):
    """Clients of pods that come and go are told to look for others, and streams end some time."""
    for name in ("LFBM_MAX_CONNECTION_AGE_S", "LFBM_MAX_CONNECTION_AGE_GRACE_S"):
        check(int(settings.get(name, 0)) > 0, f"{what} is scaled, so {name} must be above 0")


def check_probe(what: str, probe: dict):
    check(probe.get("timeoutSeconds", 1) >= PROBE_S, f"{what}: a probe waits less than {PROBE_S} s: {probe}")
    check(probe.get("failureThreshold", 3) > FORGIVEN, f"{what}: a probe forgives less than {FORGIVEN}: {probe}")


def check_dockerfiles():
    paths = sorted(DEPLOY.glob("Dockerfile*"))
    run(TOOLS / "bin/hadolint", "--no-color", *paths)
    for path in paths:
        # Without --server, it is the one that follows the settings.
        check('CMD ["lfbm", "health"]' in path.read_text(), f"{path}: the health check is not `lfbm health`")


def check_compose():
    import yaml
    from compose_spec import PyCompose
    for path in sorted(DEPLOY.glob("compose*.yaml")):
        try:
            PyCompose.from_yaml(path.read_text()).validate()
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        for name, service in yaml.safe_load(path.read_text())["services"].items():
            build = service.get("build", {})
            paths = [DEPLOY / build["context"] / build["dockerfile"]] if build else []
            mounts = [volume.split(":")[0] for volume in service.get("volumes", [])]
            paths += [DEPLOY / mount for mount in mounts if mount.startswith(".")]
            for source in paths:
                check(source.exists(), f"{path}: {name} uses {source}, which is not there")
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["lfbm"]
    check_stop("compose.yaml: stop_grace_period", seconds(service["stop_grace_period"]),
               service["environment"])


def check_object(source: str, document: dict, crds: dict):
    import jsonschema
    import kubernetes_validate
    kind = document["kind"]
    where = f"{source}: {kind} {document['metadata']['name']}"
    try:
        if kind not in crds:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            return
        check(document["apiVersion"] == crds[kind]["apiVersion"], f"{where}: apiVersion")
        jsonschema.validate(document["spec"], crds[kind]["spec"])
        if containers := document["spec"].get("containers"):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
                   "spec": {"containers": containers}}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        place = "/".join(str(part) for part in error.absolute_path)
        problems.append(f"{where}: {place}: {error.message}")


def check_kubernetes():
    import yaml
    crds = yaml.safe_load((ROOT / "scripts/crd-schemas.yaml").read_text())
    kubectl = tool("kubectl", "any version with `kubectl kustomize`")
    for overlay in sorted((DEPLOY / "kubernetes/overlays").iterdir()):
        documents = list(yaml.safe_load_all(run(kubectl, "kustomize", overlay)))
        for document in documents:
            check_object(overlay.name, document, crds)
        by_kind = {document["kind"]: document["spec"] for document in documents if "spec" in document}
        check_pods(overlay.name, by_kind)
    kserve = [yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "kserve").glob("*.yaml"))]
    for document in [*kserve, yaml.safe_load((DEPLOY / "kubernetes/sweep-job.yaml").read_text())]:
        check_object(document["kind"], document, crds)
    specs = {document["kind"]: document["spec"] for document in kserve}
    predictor, runtime = specs["InferenceService"], specs["ServingRuntime"]
    [container] = runtime["containers"]
    settings = {variable["name"]: variable["value"] for variable in container["env"]}
    check_stop("InferenceService: terminationGracePeriodSeconds",
               predictor["predictor"]["terminationGracePeriodSeconds"], settings)
    check_scaled("InferenceService", settings)
    for probe in ("startupProbe", "readinessProbe"):
        check_probe("ServingRuntime", container[probe])
    [service] = [document for document in kserve if document["kind"] == "InferenceService"]
    name, bundle = service["metadata"]["name"], predictor["predictor"]["model"]["storageUri"].split("/")[-1]
    manifest = json.loads((ROOT / "models" / bundle / "manifest.json").read_text())
    check(name == manifest["name"], f"InferenceService: clients ask for {name}, the bundle is {manifest['name']}")
    check(container["ports"][0]["containerPort"] == PORTS["grpc"], "ServingRuntime: containerPort")
    check(container["ports"][0]["name"] == "h2c", "ServingRuntime: Knative takes gRPC for HTTP/1.1 by this port's name")
    canary = yaml.safe_load((DEPLOY / "kserve/canary/inferenceservice.yaml").read_text())
    check_object("canary", canary, crds)
    check(canary["metadata"]["name"] == name, f"canary: it is of another service than {name}")
    mode = canary["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
    check(mode == "Serverless", f"canary: the mode {mode} does not divide requests by weight")
    spec = canary["spec"]["predictor"]
    check(0 < spec["canaryTrafficPercent"] < 100, "canary: its share of the requests is none or all")
    same = predictor["predictor"]["model"]
    check({**spec["model"], "storageUri": same["storageUri"]} == same, "canary: more than its bundle is another")
    check(spec["model"]["storageUri"] != same["storageUri"], "canary: its bundle is no other")


def check_pods(overlay: str, by_kind: dict):
    """What schemas do not say: selectors select the pods, and the pods are given time to drain."""
    template = by_kind["Deployment"]["template"]
    labels = template["metadata"]["labels"]
    selectors = {
        "Deployment": by_kind["Deployment"]["selector"]["matchLabels"],
        "Service": by_kind["Service"]["selector"],
        "PodDisruptionBudget": by_kind["PodDisruptionBudget"]["selector"]["matchLabels"],
        "NetworkPolicy": by_kind["NetworkPolicy"]["podSelector"].get("matchLabels"),
        "ServiceMonitor": by_kind["ServiceMonitor"]["selector"]["matchLabels"],
    }
    for kind, selector in selectors.items():
        check(selector == labels, f"{overlay}: the {kind} selects {selector}, the pods are {labels}")
    settings = tomllib.loads((DEPLOY / "kubernetes/base/server.toml").read_text())
    settings = {f"LFBM_{name.upper()}": value for name, value in settings.items()}
    check_stop(f"{overlay}: terminationGracePeriodSeconds", template["spec"]["terminationGracePeriodSeconds"],
               settings)
    check_scaled(overlay, settings)
    [container] = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    check(ports == PORTS, f"{overlay}: the container's ports are {ports}, the server's {PORTS}")
    service = by_kind["Service"]["ports"]
    policies = [port for rule in by_kind["NetworkPolicy"]["ingress"] for port in rule["ports"]]
    probes = [container[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    pages = [probe["httpGet"] for probe in probes if "httpGet" in probe]
    named = ([port["targetPort"] for port in service] + [port["port"] for port in policies]
             + [page["port"] for page in pages])
    check(set(named) <= set(ports), f"{overlay}: of the ports {named} the container has {list(ports)}")
    served = {port["name"]: port["port"] for port in service}
    check(served == PORTS, f"{overlay}: the Service's ports are {served}, the server's {PORTS}")
    scraped = {endpoint["port"] for endpoint in by_kind["ServiceMonitor"]["endpoints"]}
    check(scraped == {"http"}, f"{overlay}: the ServiceMonitor scrapes {scraped}, metrics are at http")
    for probe in probes:
        check_probe(overlay, probe)
        right = probe["httpGet"]["path"] in PROBES if "httpGet" in probe else probe["grpc"]["port"] == PORTS["grpc"]
        check(right, f"{overlay}: the server does not answer the probe {probe}")


def check_systemd():
    analyze = tool("systemd-analyze", "Debian: apt-get install systemd")
    unit = DEPLOY / "systemd/lfbm-server.service"
    with tempfile.TemporaryDirectory() as scratch:
        # The binary need not be installed where the check runs.
        copy = pathlib.Path(scratch) / unit.name
        copy.write_text(unit.read_text().replace("/usr/local/bin/lfbm-server", "/bin/true"))
        additions = sorted((DEPLOY / "systemd").glob("*.conf"))
        check(additions, "systemd: no file says how the server gets its keys")
        folder = pathlib.Path(f"{copy}.d")
        folder.mkdir()
        for addition in additions:
            shutil.copy(addition, folder)
            text = addition.read_text()
            loaded = set(re.findall(r"^LoadCredential=([^:]+):", text, re.M))
            used = set(re.findall(r"=%d/(\S+)", text))
            check(loaded == used, f"{addition}: loads {sorted(loaded)}, and the settings name {sorted(used)}")
        verified = subprocess.run([analyze, "verify", copy], capture_output=True, text=True)
        # A value that systemd ignores is a warning to it and a hole to us.
        told = [unit.name, *(addition.name for addition in additions)]
        quiet = not any(name in verified.stderr for name in told)
        check(not verified.returncode and quiet, verified.stderr)
    run(analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", unit)
    text = unit.read_text()
    environment = re.findall(r"\b(LFBM_\w+)=(\d+)\b", text)
    check_stop("systemd: TimeoutStopSec", seconds(re.search(r"^TimeoutStopSec=(\w+)", text, re.M)[1]),
               dict(environment))


def check_prometheus(promtool: str):
    folder = DEPLOY / "prometheus"
    run(promtool, "check", "config", folder / "prometheus.yml")
    targets = re.findall(r"lfbm:(\d+)", (folder / "prometheus.yml").read_text())
    check(targets == [str(PORTS["http"])], f"prometheus.yml: metrics are at {PORTS['http']}, not at {targets}")
    run(promtool, "check", "rules", folder / "alerts.yml")
    run(promtool, "test", "rules", folder / "alerts_test.yml")


def check_settings():
    """Every setting that deploy/ names is one of the binaries'."""
    usage = run(BIN / "lfbm-server", "--help") + run(BIN / "lfbm", "--help")
    addresses = {f"LFBM_{name.upper()}_ADDRESS": f"127.0.0.1:{port}" for name, port in PORTS.items()}
    for name, value in (DRAIN | addresses).items():
        check(re.search(rf"\[env: {name}=[^\]]*\]\s+\[default: {re.escape(str(value))}\]", usage),
              f"scripts/check-deploy.py takes {value} for the default of {name}")
    for path in DEPLOY.glob("Dockerfile*"):
        ports = {name.lower(): int(port) for name, port in
                 re.findall(r"LFBM_(GRPC|HTTP)_ADDRESS=0.0.0.0:(\d+)", path.read_text())}
        check(ports == PORTS, f"{path}: the server listens at {ports}, expected {PORTS}")
    known = set(re.findall(r"\[env: (LFBM_\w+)", usage)) | {"LFBM_ONNXRUNTIME"}
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file() and path.suffix in {"", ".yaml", ".service", ".conf", ".cuda", ".toml", ".md"}:
            for name in sorted(set(re.findall(r"\bLFBM_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()))):
                check(name in known, f"{path}: there is no setting {name}")
    flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z-]+)", usage)}
    for name in tomllib.loads((DEPLOY / "kubernetes/base/server.toml").read_text()):
        check(name in flags, f"server.toml: there is no setting {name}")


def scrape() -> str:
    """The /metrics of a server with Kubernetes' settings and a shadow version that has scored images and refused
    a request."""
    with tempfile.TemporaryDirectory() as scratch:
        ready, tokens = pathlib.Path(scratch) / "ready", pathlib.Path(scratch) / "tokens"
        models = pathlib.Path(scratch) / "models"
        for version in ("1", "2"):
            shutil.copytree(ROOT / "models/mnist-not4", models / version)
            manifest = models / version / "manifest.json"
            text = re.sub(r'"version": \d+', f'"version": {version}', manifest.read_text(), count=1)
            manifest.write_text(text)
        tokens.write_text("token-of-a-check\n")
        free = "127.0.0.1:0"
        server = subprocess.Popen(
            [BIN / "lfbm-server", "--config", DEPLOY / "kubernetes/base/server.toml",
             "--drain-grace-s", "0", "--bundle", models, "--shadow", "mnist-not4:2=1", "--grpc-address", free,
             "--http-address", free, "--auth-tokens-file", tokens, "--ready-file", ready], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not ready.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit("check-deploy: the server does not start; `make demo` says why")
                time.sleep(0.1)
            places = dict(line.split("=", 1) for line in ready.read_text().split())
            client = [BIN / "lfbm", "--server", f"http://{places['grpc']}", "--token-file", tokens,
                      "score", DEPLOY / "samples"]
            run(*client)
            subprocess.run([*client, "--steps", "1000000"], capture_output=True)
            while True:
                with urllib.request.urlopen(f"http://{places['http']}/metrics", timeout=10) as reply:
                    text = reply.read().decode()
                # The shadow version scores beside the requests.
                if "lfbm_shadow_verdicts_total{" in text or time.monotonic() > deadline:
                    return text
                time.sleep(0.1)
        finally:
            server.terminate()
            server.wait()


class Metrics:
    """What a text of /metrics holds, to look names in queries up."""

    def __init__(self, text: str):
        self.names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
        self.labels: dict[str, set] = {}
        for series, pairs in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
            self.labels.setdefault(series, set()).update(re.findall(r'(\w+)="', pairs))

    def used(self, where: str, query: str, legend: str = "") -> set:
        """The metrics of a query, whose labels, and those of the legend, are theirs."""
        series = set(re.findall(r"\b(?:lfbm|process)_[a-z0-9_]+", query))
        unknown = series - set(self.labels)
        check(not unknown, f"{where}: the server has no metrics {sorted(unknown)}")
        served = TARGET_LABELS.union(*(self.labels.get(name, set()) for name in series))
        for name, matchers in re.findall(r"\b(\w+)\{([^}]*)\}", query):
            wrong = set(re.findall(r"(\w+)\s*[=!]", matchers)) - self.labels.get(name, set()) - TARGET_LABELS
            check(not wrong, f"{where}: {name} has no labels {sorted(wrong)}")
        lists = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query)
        grouped = set(re.findall(r"\w+", " ".join(lists)))
        check(grouped <= served, f"{where}: groups by {sorted(grouped - served)}, which no metric of it has")
        shown = set(re.findall(r"\{\{(\w+)\}\}|\$labels\.(\w+)", legend))
        shown = {name for pair in shown for name in pair if name}
        left = grouped or served
        check(shown <= left, f"{where}: names {sorted(shown - left)}, the query leaves {sorted(left)}")
        return {re.sub("_(bucket|sum|count)$", "", name) if name not in self.names else name
                for name in series}


def check_metrics(promtool: str):
    import dashboard
    import yaml
    text = scrape()
    run(promtool, "check", "metrics", input=text)
    metrics = Metrics(text)
    source = "\n".join(path.read_text() for path in (ROOT / "src/telemetry").rglob("*.rs"))
    unborn = set(re.findall(r'"(lfbm(?:_[a-z0-9]+){2,})"', source)) - metrics.names
    check(not unborn, f"metrics without a series from the start: {sorted(unborn)}")

    board = dashboard.dashboard()
    shown = set().union(*(metrics.used(f"panel {panel['title']}", target["expr"], target["legendFormat"])
                          for panel in board["panels"] for target in panel.get("targets", [])))
    hidden = metrics.names - shown
    check(not hidden, f"metrics without a panel in scripts/dashboard.py: {sorted(hidden)}")
    committed = json.loads((DEPLOY / "grafana/dashboards/lfbm.json").read_text())
    check(committed == board, "deploy/grafana/dashboards/lfbm.json is not what scripts/dashboard.py "
          "prints; run scripts/dashboard.py > deploy/grafana/dashboards/lfbm.json")
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
    rule_file = "deploy/kubernetes/base/prometheusrule.yaml"
    check(yaml.safe_load((ROOT / rule_file).read_text())["spec"] == rules,
          f"{rule_file} is not what deploy/prometheus/alerts.yml says; run make {rule_file}")
    for group in rules["groups"]:
        for rule in group["rules"]:
            metrics.used(f"alert {rule['alert']}", rule["expr"], " ".join(rule["annotations"].values()))
    autoscaler = yaml.safe_load((DEPLOY / "kubernetes/base/hpa.yaml").read_text())
    for metric in autoscaler["spec"]["metrics"]:
        metrics.used("hpa.yaml", metric["pods"]["metric"]["name"])
    return len(metrics.names)


def main():
    if not TOOLS.is_dir():
        sys.exit("check-deploy: the packages of deploy/requirements.txt are missing; run make deploy-check")
    promtool = tool("promtool", "make promtool puts it there")
    check_dockerfiles()
    check_compose()
    check_kubernetes()
    check_systemd()
    check_prometheus(promtool)
    check_settings()
    count = check_metrics(promtool)
    if problems:
        sys.exit("check-deploy:\n" + "\n".join(problems))
    print(f"check-deploy: Dockerfiles, compose, Kubernetes, KServe, systemd, alerts and the panels of "
          f"{count} metrics are right")


if __name__ == "__main__":
    main()
