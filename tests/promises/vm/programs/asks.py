"""Asks a service of the mesh once, as any program does: asks.py HOST PATH."""
import socket, sys

host, path = sys.argv[1:]
connection = socket.create_connection((host, 80), timeout=10)
connection.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
reply = b""
while more := connection.recv(65536):
    reply += more
print(reply.decode())
