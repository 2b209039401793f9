"""The server under load: many clients at once beside one request at a time.

    python benchmarks/serve.py [--clients 64] [--seconds 60] [--rounds 3] [--think] [--json]

Starts `limner serve MODEL --port 0` on one thread of torch a step, warms it up, asks one request at a time and then
from all clients at once, each asking again as soon as it is answered. A client that is told to come again (429) does
so after the time it was told. Printed are requests a second, the seconds that half and 99 of 100 requests took, answers
by status, and the memory that the server holds (VmRSS) after warm-up and at the end. Seconds of processor time an
answer are those of the server alone: they do not depend on who else uses the machine.

Ends with status 1 where an answer was neither 200 nor 429, memory grew by more than 10 %, or throughput is less than
twice that of one request at a time.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2

PROMPT = "a red apple"
GROWTH, GAIN = 0.10, 2.0


def resident(pid):
    """MB that a process holds."""
    told = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", told)[1]) / 1024


def processor(pid):
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Load:
    """Clients that ask again and again for some seconds."""

    def __init__(self, base, body):
        self.base, self.body = base, body
        self.statuses, self.times, self.seed = Counter(), [], 0
        self.seconds = self.processor = 0.0

    async def client(self, http, until, enough):
        while time.perf_counter() < until or len(self.times) < enough:
            self.seed += 1
            begun = time.perf_counter()
            try:
                told = await http.post(f"{self.base}/images/generations", json=self.body | {"seed": self.seed})
            except httpx2.HTTPError as error:
                self.statuses[type(error).__name__] += 1
                continue
            self.statuses[told.status_code] += 1
            if told.status_code == 429:
                await asyncio.sleep(int(told.headers["retry-after"]))
            else:
                self.times.append(time.perf_counter() - begun)

    async def run(self, clients, seconds, enough=0):
        limits = httpx2.Limits(max_connections=clients)
        async with httpx2.AsyncClient(timeout=600, limits=limits) as http:
            until = time.perf_counter() + seconds
            await asyncio.gather(*(self.client(http, until, enough) for _ in range(clients)))

    def told(self):
        order, answered = sorted(self.times), self.statuses[200]
        return {
            "answers": answered,
            "per_second": round(answered / self.seconds, 2),
            "p50": round(order[len(order) // 2], 3),
            "p99": round(order[min(len(order) - 1, int(len(order) * 0.99))], 3),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "processor_seconds_an_answer": round(self.processor / max(1, answered), 4),
        }

    def measure(self, pid, clients, seconds):
        """So many clients for that time; the clock runs until the last is answered."""
        begun, spent = time.perf_counter(), processor(pid)
        asyncio.run(self.run(clients, seconds))
        self.seconds += time.perf_counter() - begun
        self.processor += processor(pid) - spent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-mmada")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--think", action="store_true")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    body = {"prompt": PROMPT, "think": told.think}
    command = [sys.executable, "-m", "limner.app.cli", "serve", told.model, "--port", "0"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    server = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)
    try:
        base = re.search(r"http://\S+", server.stdout.readline())[0]
        asyncio.run(Load(base, body).run(told.clients, min(10.0, told.seconds / 4), 2 * told.clients))  # warm-up
        before = resident(server.pid)
        one, all_ = Load(base, body), Load(base, body)
        for _ in range(told.rounds):  # in turns, because a machine is not equally busy all the time
            one.measure(server.pid, 1, told.seconds / 2 / told.rounds)
            all_.measure(server.pid, told.clients, told.seconds / told.rounds)
        after, alone, many = resident(server.pid), one.told(), all_.told()
    finally:
        server.terminate()
        server.wait()
    growth, gain = after / before - 1, many["per_second"] / max(1e-9, alone["per_second"])
    wrong = [status for status in many["statuses"] if status not in ("200", "429")]
    result = {"model": told.model, "clients": told.clients, "alone": alone, "together": many}
    result |= {"megabytes": [round(before, 1), round(after, 1)], "growth": round(growth, 4), "gain": round(gain, 2)}
    if told.json:
        print(json.dumps(result))
    else:
        for name in ("alone", "together"):
            print(f"{name:<10}", "  ".join(f"{key} {value}" for key, value in result[name].items()))
        print(f"memory     {before:.0f} MB after warm-up, {after:.0f} MB at the end: {growth:+.1%}")
        print(f"gain       {gain:.2f} times the throughput of one request at a time")
    return int(bool(wrong) or growth > GROWTH or gain < GAIN)


if __name__ == "__main__":
    sys.exit(main())
