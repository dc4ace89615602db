# What Ruby makes of UDP sockets: against an echo server at ARGV[0], port ARGV[1].
require 'socket'
host, port = ARGV[0], ARGV[1].to_i
u = UDPSocket.new(Socket::AF_INET6)
u.connect(host, port)
3.times do |i|
  u.send("ruby #{i}", 0)
  p u.recvfrom(100)[0]
end
p u.addr[0], u.peeraddr[1]
address = Addrinfo.udp(host, port)
address.connect do |s|
  s.write 'write'
  p s.readpartial(10)
  s.syswrite 'syswrite'
  p s.sysread(3), s.local_address.ipv6?
  s.puts 'line'
  p s.gets
end
begin
  u.recv_nonblock(10)
rescue IO::WaitReadable => e
  p e.class
end
s = UDPSocket.new(Socket::AF_INET6)
s.bind('::', 0)
s.send('z', 0, host, port)
data, from = s.recvmsg
p data, from.ip_port
s.sendmsg('message', 0, address)
IO.select([s], nil, nil, 5)
p s.recvmsg_nonblock(4)[0]
p s.getsockopt(:SOCKET, :TYPE).int, s.close
Process.wait(fork { u.send('child', 0); p u.recv(10) })
code = "u = UDPSocket.for_fd(#{u.fileno}); u.send('exec', 0); p u.recv(10), u.remote_address.ip_port"
Process.wait(Process.spawn('ruby', '-rsocket', '-e', code, u.fileno => u.fileno))
