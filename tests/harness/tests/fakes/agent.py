#!/usr/bin/env python3
"""Stands in for the agent; the variable ACT says what it does."""
import os
import signal
import socket
import subprocess
import sys


def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def stop(*_):
    say("STOPPING=1")
    sys.exit(3)


print("args", sys.argv[1:], "env", sorted(os.environ), flush=True)
act = os.environ["ACT"]
if act == "serve":
    signal.signal(signal.SIGTERM, stop)
    say("STATUS=waiting")
    say("READY=1\nSTATUS=serving")
    signal.pause()
elif act == "father":
    child = subprocess.Popen(["sleep", "1000"], process_group=0)
    say(f"READY=1\nSTATUS={child.pid}")
    signal.pause()
else:
    print("no such bundle", file=sys.stderr)
    sys.exit(78)
