#!/usr/bin/env python3
"""Checks the dashboards and the alerts against a real Prometheus that scrapes services that run.

    deploy/prometheus/check.py [folder of the programs, target/debug by default]

Starts `quell dev` on free ports and Prometheus beside it (`prometheus` and `promtool` on PATH; Debian has both), grows snowballs and
stops them, places an order, and then asks Prometheus every query of every dashboard: it must be taken, and every metric that it names must
have been scraped. The same for the alerts, of which none that wants somebody to look may fire. It takes about half a minute and ends with
what it started; the exit code is 0 when everything holds. `.ci/run` runs it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import socket

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROGRAMS = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/debug").resolve()
METRIC = re.compile(r"\b(?:quell|temporal)_[a-z0-9_]+")
# On the page only once it happened, and it does not happen here.
RARE = {"quell_worker_drains_total", "temporal_request_failure_total"}


def free_port():
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def within(seconds, what, look):
    end = time.monotonic() + seconds
    while True:
        problem = look()
        if problem is None:
            return
        if time.monotonic() > end:
            sys.exit(f"not within {seconds} s: {what}: {problem}")
        time.sleep(0.5)


class Prometheus:
    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}/api/v1/"

    def get(self, path, **query):
        url = self.base + path + "?" + urllib.parse.urlencode(query)
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from error

    def count(self, expression):
        return len(self.get("query", query=expression)["result"])


def quell(addresses, *arguments):
    environment = os.environ | {
        f"QUELL_{name.upper()}_ADDRESS": addresses[name] for name in ("work", "canceler", "batch")
    }
    ran = subprocess.run(
        [PROGRAMS / "quell", *arguments], env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    if ran.returncode:
        sys.exit(f"quell {' '.join(arguments)}: {ran.returncode}\n{ran.stdout}{ran.stderr}")


def stop(addresses, engine):
    name = f"check-{engine}"
    quell(addresses, "snowball", "start", "--width", "10", "--depth", "2", "--workload-id", name)
    quell(addresses, "stop", "--workload-id", name, "--reason", "a check", "--engine", engine, "--yes")


def place_order(addresses):
    quell(addresses, "order", "place", "--payment", "tok", "--amount", "100", "--item", "x", "--address", "y", "--wait")


def queries():
    for file in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                # What Grafana makes of it at a scrape a second.
                yield f"{file.name}: {panel['title']}", target["expr"].replace("$__rate_interval", "1m")


def check(prometheus):
    problems, asked, names = [], 0, {}
    for where, expression in queries():
        asked += 1
        for name in METRIC.findall(expression):
            names.setdefault(name, where)
        try:
            prometheus.get("query", query=expression)
        except ValueError as error:
            problems.append(f"{where}: {expression}: {error}")
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        for name in METRIC.findall(rule["query"]):
            names.setdefault(name, rule["name"])
        if rule["health"] != "ok":
            problems.append(f"{rule['name']}: {rule['health']}: {rule.get('lastError')}")
        if rule["labels"]["severity"] == "page" and rule["state"] == "firing":
            problems.append(f"{rule['name']} fires although nothing is wrong: {rule['alerts']}")
    for name, where in sorted(names.items()):
        if name not in RARE and prometheus.count(name) == 0:
            problems.append(f"{where}: nothing was scraped of {name}")
    documented = (ROOT / "docs/metrics.md").read_text()
    for name in names:
        if f"`{re.sub('_(bucket|count|sum)$', '', name)}`" not in documented:
            problems.append(f"{names[name]}: {name} is not in docs/metrics.md")
    exemplars = prometheus.get(
        "query_exemplars", query="quell_rpc_duration_seconds_bucket", start=time.time() - 600, end=time.time()
    )
    if not any(exemplar["labels"].get("trace_id") for series in exemplars for exemplar in series["exemplars"]):
        problems.append("no duration of a call has an exemplar")
    print(f"{asked} queries of dashboards, {len(rules)} alerts, {len(names)} metrics")
    return problems


def main():
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        subprocess.run(["promtool", *command], cwd=HERE, check=True)
    running = []
    with tempfile.TemporaryDirectory(prefix="quell-check-") as folder:
        try:
            mesh = subprocess.Popen(
                [PROGRAMS / "quell", "--json", "dev", "--free-ports", "--headless", "--no-jaeger"],
                stdout=subprocess.PIPE,
                text=True,
            )
            running.append(mesh)
            addresses = json.loads(mesh.stdout.readline())
            port = free_port()
            targets = [page.removeprefix("http://").removesuffix("/metrics") for page in addresses["metrics"]]
            config = {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(HERE / "alerts.yml")],
                "scrape_configs": [{"job_name": "quell", "static_configs": [{"targets": targets}]}],
            }
            # JSON is YAML.
            (Path(folder) / "prometheus.yml").write_text(json.dumps(config))
            running.append(
                subprocess.Popen(
                    [
                        "prometheus",
                        f"--config.file={folder}/prometheus.yml",
                        f"--storage.tsdb.path={folder}/data",
                        f"--web.listen-address=127.0.0.1:{port}",
                        "--enable-feature=exemplar-storage",
                        "--log.level=warn",
                    ]
                )
            )
            prometheus = Prometheus(port)

            def scraped():
                try:
                    up = prometheus.count('up{job="quell"} == 1')
                except OSError as error:
                    return error
                return None if up == 3 else f"{up} of 3"

            within(60, "all services are scraped", scraped)
            with ThreadPoolExecutor() as pool:
                work = [pool.submit(stop, addresses, engine) for engine in ("both", "sweep")]
                for one in [*work, pool.submit(place_order, addresses)]:
                    one.result()

            # Rates want two scrapes, rules an evaluation, after the last that happened.
            asked = time.time()

            def evaluated():
                last = [group["lastEvaluation"] for group in prometheus.get("rules")["groups"]]
                fresh = prometheus.count(f"timestamp(up) > {asked + 3} and up == 1")
                return None if last and fresh == 3 else f"{fresh} scraped anew"

            within(60, "the rules were evaluated", evaluated)
            problems = check(prometheus)
        finally:
            for process in reversed(running):
                process.terminate()
            for process in running:
                process.wait(timeout=60)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
