"""Answers every HTTP request with its own head, where who calls is in a header that Envoy has set, and
with the address that it came from."""
import socket, threading

def serve(connection, caller):
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            return connection.close()
        head += more
    head += b"from: " + caller[0].encode() + b"\r\n"
    connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(head) + head)
    connection.close()

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 8080))
listener.listen(128)
while True:
    threading.Thread(target=serve, args=listener.accept(), daemon=True).start()
