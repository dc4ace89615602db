# UDP echo with Perl's own sockets.
use strict;
use warnings;
use IO::Select;
use Socket qw(AF_INET6 SOCK_DGRAM pack_sockaddr_in6 unpack_sockaddr_in6 inet_pton inet_ntop IN6ADDR_ANY);

my ($role, $port, $host) = @ARGV;
socket(my $socket, AF_INET6, SOCK_DGRAM, 0) or die "socket: $!";
$| = 1;
if ($role eq 'server') {
    bind($socket, pack_sockaddr_in6($port, IN6ADDR_ANY)) or die "bind: $!";
    while (defined(my $from = recv($socket, my $data, 2000, 0))) {
        defined(send($socket, $data, 0, $from)) or die "send: $!";
    }
    die "recv: $!";
}
my $to = pack_sockaddr_in6($port, inet_pton(AF_INET6, $host));
my $ask = sub {
    my ($data, $named) = @_;
    defined($named ? send($socket, $data, 0, $named) : send($socket, $data, 0)) or die "send: $!";
    IO::Select->new($socket)->can_read(5) or return 'silence';
    my $from = recv($socket, my $answer, 2000, 0);
    return "recv: $!" unless defined $from;
    return "$answer" . (length($from) && $from ne $to ? ' from somebody else' : '');
};
print $ask->("unconnected $_", $to), "\n" for 1 .. 10;
connect($socket, $to) or die "connect: $!";
print $ask->("connected $_"), "\n" for 1 .. 10;
my ($peer_port, $peer) = unpack_sockaddr_in6(getpeername($socket));
print $peer_port == $port && $peer eq inet_pton(AF_INET6, $host) ? "peer\n" : "another peer\n";
