# Holds a connection to a listener that istiod has given Envoy, and says when it is cut.
import socket
import sys

admin = socket.create_connection(("127.0.0.1", 15000))
admin.sendall(b"GET /listeners HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n")
text = b""
while piece := admin.recv(65536):
    text += piece
# Lines of NAME::ADDRESS:PORT.
lines = text.decode().split("\r\n\r\n", 1)[1].split()
places = [line.split("::", 1)[1].rsplit(":", 1) for line in lines if "::" in line]
address, port = next(place for place in places if place[1] not in ("15021", "15090"))
connection = socket.create_connection((address.replace("0.0.0.0", "127.0.0.1"), int(port)))
with open(sys.argv[1], "w") as log:
    log.write("open\n")
    log.flush()
    connection.recv(1)
    log.write("cut\n")
