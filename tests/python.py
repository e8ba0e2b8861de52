"""Stand for the interpreter: have `tests/warm.py` run these arguments, and end as what it ran.

What is no script or module of ours is run by the interpreter itself: joblib passes files to its workers, for one.
"""

import json
import os
import signal
import socket
import sys

address, *arguments = sys.argv[1:]
is_module = arguments[0] == "-m" and arguments[1].split(".")[0] in ("ser", "torch", "benchmarks")
if arguments[0].startswith("-") and not is_module:
    os.execv(sys.executable, [sys.executable, *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect(address)
request = {"arguments": arguments, "cwd": os.getcwd(), "env": {**os.environ}, "client": os.getpid()}  # noqa: PTH109
content = json.dumps(request).encode()
socket.send_fds(server, [len(content).to_bytes(8)], [0, 1, 2])
server.sendall(content)
child = int.from_bytes(server.recv(8))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(child, number))
code = int.from_bytes(server.recv(8), signed=True)
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
