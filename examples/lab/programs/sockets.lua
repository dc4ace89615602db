-- What LuaSocket makes of UDP: against an echo server at arg[1], port arg[2].
local socket = require 'socket'
local host, port = arg[1], tonumber(arg[2])
local u = socket.udp6()
u:settimeout(5)
print(u:setpeername(host, port))
print(u:send('lua'), u:receive())
u:settimeout(0.1)
print(u:receive())
print(u:setpeername('*'))
print(u:sendto('to', host, port))
u:settimeout(5)
local data, _, from = u:receivefrom()
print(data, from)
