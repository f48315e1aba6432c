"""Memory and time of the viewer under 10,000 requests: ``python proofs/viewer_load.py FOLDER [REQUESTS]``.

FOLDER holds one predicted scene. Eight connections ask a server of its own, on this machine, for random tiles and
pixels; the resident memory should stay flat after the first thousand.
"""

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue

CONNECTIONS = 8
LIMIT_S = 900


def main(folder: Path, requests: int) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "unclouded", "view", str(folder), "--no-browser"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        started = time.monotonic()
        line = server.stderr.readline()
        host = line.split("http://")[1].split("/")[0]
        print(f"first line after {time.monotonic() - started:.2f} s")
        measure(server.pid, host, requests)
    finally:
        server.terminate()
        server.wait()


def measure(pid: int, host: str, requests: int) -> None:
    scene = get(host, f"/api/scenes/{get(host, '/api/contents')['scenes'][0]['id']}")
    chance = random.Random(0)
    asked: SimpleQueue[str] = SimpleQueue()
    for _ in range(requests):
        asked.put(address(scene, chance))
    print(f"{'requests':>9} {'MiB':>7} {'per second':>11}")
    threads = [threading.Thread(target=work, args=(host, asked), daemon=True) for _ in range(CONNECTIONS)]
    began = time.monotonic()
    for one in threads:
        one.start()
    step = max(1, requests // 10)
    shown = 0
    while any(one.is_alive() for one in threads) and time.monotonic() - began < LIMIT_S:
        time.sleep(0.2)
        done = requests - asked.qsize()
        if done >= shown + step:
            shown = done
            print(f"{done:>9,} {resident_mib(pid):>7.0f} {done / (time.monotonic() - began):>11.0f}", flush=True)


def address(scene: dict, chance: random.Random) -> str:
    height, width = scene["shape"]
    layer = chance.choice(scene["layers"])
    if chance.random() < 0.2:
        return f"/api/scenes/{scene['id']}/pixel/{chance.randrange(height)}/{chance.randrange(width)}"
    level = chance.randrange(5)
    column, row = chance.randrange(width) // (256 << level), chance.randrange(height) // (256 << level)
    bands = "_".join(layer["bands"][:3])
    return f"/api/scenes/{scene['id']}/tiles/{layer['id']}/{bands}/{level}/{column}/{row}"


def work(host: str, asked: "SimpleQueue[str]") -> None:
    connection = http.client.HTTPConnection(host, timeout=60)
    while True:
        try:
            path = asked.get_nowait()
        except Empty:
            return
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status in (200, 422), (path, response.status)  # 422: a level that a small scene does not have


def get(host: str, path: str) -> dict:
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
