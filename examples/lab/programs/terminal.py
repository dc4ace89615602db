"""A command in a terminal of its own, which is given one line as soon as a word has come; prints which words came, and the
status. terminal.py SECONDS WORD LINE EXPECTED... -- COMMAND..."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

split = sys.argv.index("--")
(seconds, word, line), expected = sys.argv[1:4], sys.argv[4:split]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.environ["TERM"] = "xterm"
    os.execvp(sys.argv[split + 1], sys.argv[split + 1:])
output, end, sent = b"", time.monotonic() + float(seconds), False
while time.monotonic() < end:
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # The other side is closed.
            break
        output += data
        if not sent and word.encode() in output:
            sent = os.write(terminal, line.encode() + b"\r") > 0
else:
    os.kill(pid, 9)
for word in expected:
    print(word, word.encode() in output)
print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
