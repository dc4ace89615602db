%% What Erlang makes of UDP sockets, by gen_udp and by socket: against an echo server at SERVER, port 5006.
-module(sockets).
-export([main/0]).

main() ->
    {ok, A} = inet:parse_address(os:getenv("SERVER")),
    {ok, S} = gen_udp:open(0, [inet6, binary, {active, false}]),
    ok = gen_udp:send(S, A, 5006, <<"erlang">>),
    io:format("~p~n", [setelement(1, element(2, gen_udp:recv(S, 10, 5000)), from)]),
    ok = gen_udp:connect(S, A, 5006),
    ok = gen_udp:send(S, <<"connected">>),
    io:format("~p~n", [element(3, element(2, gen_udp:recv(S, 10, 5000)))]),
    inet:setopts(S, [{active, true}]),
    ok = gen_udp:send(S, <<"active">>),
    receive {udp, S, _, _, D} -> io:format("~p~n", [D]) after 5000 -> io:format("nothing~n") end,
    {ok, K} = socket:open(inet6, dgram, udp),
    ok = socket:bind(K, any),
    ok = socket:sendto(K, <<"socket">>, #{family => inet6, addr => A, port => 5006}),
    io:format("~p~n", [element(2, element(2, socket:recvfrom(K, 0, 5000)))]),
    halt(0).
