"""Asks the stub for one name over and over, each time anew, until a file is there; then writes how
many questions were answered, and what became of the others."""
import os, socket, struct, sys

name, stop, out = sys.argv[1:]
question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
answered, lost = 0, []
number = 0
while not os.path.exists(stop):
    number = (number + 1) % 65536
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # As long as a program of glibc waits before it asks again.
    asker.settimeout(5)
    asker.sendto(struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + question, ("127.0.0.53", 53))
    try:
        reply = asker.recv(4096)
        code, answers = reply[3] & 15, struct.unpack(">H", reply[6:8])[0]
        if code == 0 and answers > 0:
            answered += 1
        else:
            lost.append("rcode %d, %d answers" % (code, answers))
    except TimeoutError:
        lost.append("no reply")
    asker.close()
    with open(out + ".new", "w") as file:
        file.write("%d %d %s\n" % (answered, len(lost), "; ".join(sorted(set(lost)))))
    os.rename(out + ".new", out)
