"""Apache Spark as a standalone cluster: a master and its workers on loopback, with a driver for each program."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

# Each program starts a JVM, and the cluster another one for it on each worker.
SPARK_SECONDS = 900
HERE = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as unused:
        unused.bind((HERE, 0))
        return int(unused.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex((HERE, port)) == 0


def wait_until(ready: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for a server that starts."""
    ends_at = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < ends_at, "the server did not start"
        time.sleep(0.5)


@contextmanager
def running_spark(programs: Path, folder: Path, workers: int) -> Iterator[Mapping[str, Any]]:
    """A cluster of the PySpark that an environment has; what a dbt profile needs for it."""
    home = next((programs.parent / "lib").glob("python3*/site-packages/pyspark"))
    port = free_port()
    master_url = f"spark://{HERE}:{port}"
    started: list[subprocess.Popen[bytes]] = []

    def start(role: str, *arguments: str) -> Path:
        log = folder / f"spark-{len(started)}.log"
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{role}", "--host", HERE]
        with log.open("wb") as output:
            started.append(
                subprocess.Popen(
                    [*command, "--webui-port", str(free_port()), *arguments],
                    env={**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": HERE},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        return log

    try:
        master = start("master.Master", "--port", str(port))
        wait_until(lambda: listens(port), SPARK_SECONDS)
        for number in range(workers):
            work = folder / f"worker-{number}"
            work.mkdir()
            start("worker.Worker", "-c", "1", "-m", "1g", "-d", str(work), master_url)
        wait_until(lambda: master.read_text().count("Registering worker") == workers, SPARK_SECONDS)
        events = folder / "events"
        events.mkdir()
        settings = {
            "spark.master": master_url,
            "spark.driver.host": HERE,
            "spark.driver.bindAddress": HERE,
            "spark.cores.max": str(workers),
            "spark.executor.memory": "512m",
            "spark.executor.cores": "1",
            "spark.scheduler.minRegisteredResourcesRatio": "1.0",
            "spark.scheduler.maxRegisteredResourcesWaitingTime": "300s",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.sql.shuffle.partitions": str(workers),
            "spark.ui.enabled": "false",
            # What each task read and sent, as the cluster itself counts it.
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": str(events),
            "spark.eventLog.compress": "false",
        }
        yield {"type": "spark", "method": "session", "host": "local", "server_side_parameters": settings}
    finally:
        for server in reversed(started):
            server.terminate()
            server.wait()
