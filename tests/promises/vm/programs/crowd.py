"""Holds many connections to a service open, uses each of them again and again, and asks for its name
all the time from ever new ports: crowd.py HOST CONNECTIONS QUESTIONS_A_SECOND STOP SAID.

Until the file STOP is there; what has come of it so far is in SAID, as a line of JSON. A question is
lost when it has no answer within five seconds, which is when a program would ask again."""
import os, select, socket, struct, sys, threading, time

host, connections, questions, stop, said = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
server = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")][0]
so_far = {"open": 0, "requests": 0, "broken": 0, "questions": 0, "lost": 0, "wrong": 0, "why": []}

def failed(what, why):
    so_far[what] += 1
    if len(so_far["why"]) < 10:
        so_far["why"].append(f"{what}: {why}".replace("'", "").replace('"', ""))

def request(connection, number):
    connection.sendall(f"GET /{number} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    reply = b""
    while b"\r\n\r\n" not in reply:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("closed")
        reply += more
    head, body = reply.split(b"\r\n\r\n", 1)
    length = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(length[0]):
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("closed within an answer")
        body += more
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise ConnectionError(head.split(b"\r\n")[0].decode())

def talk():
    address = socket.gethostbyname(host)
    crowd = []
    for _ in range(connections):
        connection = socket.create_connection((address, 80), timeout=20)
        crowd.append(connection)
        so_far["open"] = len(crowd)
    number = 0
    while not os.path.exists(stop):
        for connection in list(crowd):
            number += 1
            try:
                request(connection, number)
                so_far["requests"] += 1
            except OSError as error:
                crowd.remove(connection)
                failed("broken", repr(error))
            if os.path.exists(stop):
                break
            time.sleep(0.002)

def ask():
    question = b"".join(bytes([len(one)]) + one.encode() for one in host.split(".")) + b"\0\0\1\0\1"
    waiting, poll, number = {}, select.epoll(), 0
    begun = time.monotonic()
    while True:
        now = time.monotonic()
        ending = os.path.exists(stop)
        if ending and not waiting:
            return
        due = 0 if ending else int((now - begun) * questions) - number
        for _ in range(min(due, 50)):
            number += 1
            asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            asker.connect((server, 53))
            try:
                asker.send(struct.pack(">HHHHHH", number % 65536, 0x100, 1, 0, 0, 0) + question)
            except OSError as error:
                failed("lost", repr(error))
                continue
            poll.register(asker, select.EPOLLIN)
            waiting[asker.fileno()] = (asker, now)
        for descriptor, _ in poll.poll(0.001):
            asker, _ = waiting.pop(descriptor)
            try:
                reply = asker.recv(4096)
                so_far["questions"] += 1
                if reply[3] & 15 or struct.unpack(">H", reply[6:8])[0] == 0:
                    failed("wrong", f"rcode {reply[3] & 15}")
            except OSError as error:
                failed("lost", repr(error))
            asker.close()
        for descriptor, (asker, since) in list(waiting.items()):
            if now - since > 5:
                del waiting[descriptor]
                asker.close()
                failed("lost", "no answer")

def tell():
    while True:
        # As JSON, which a small Python has no module for.
        text = repr(so_far).replace("True", "true")
        with open(said + ".new", "w") as file:
            file.write(text.replace('"', "").replace("'", '"'))
        os.rename(said + ".new", said)
        time.sleep(0.05)

threads = [threading.Thread(target=talk), threading.Thread(target=ask)]
threading.Thread(target=tell, daemon=True).start()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
so_far["ended"] = True
time.sleep(0.2)
