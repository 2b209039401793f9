"""One thread, and the same examples every time: sums and searches then come out the same on every machine."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def completion(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def served():
    """A local endpoint of chat completions: (url, requests seen, a list of answers, of which the last stays). An answer
    is a status with a body, seconds to wait before a yes, or a function of the request's body that gives a text."""
    seen, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, dict(self.headers), body))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, float):
                time.sleep(answer)
                answer = (200, completion("yes"))
            elif callable(answer):
                answer = (200, completion(answer(body)))
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1] if isinstance(answer[1], bytes) else json.dumps(answer[1]).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", seen, answers
    server.shutdown()
    thread.join()
    server.server_close()
