"""Python's own tests, with an address that Shim6 serves in place of ::1 where a test asks for an IPv6 host."""
import sys

from test.support import socket_helper

socket_helper.HOSTv6 = sys.argv.pop(1)

from test.libregrtest import main

main()
