// Datagram channels and sockets of Java: selectors, multicast, options, threads that end by close and interrupt.

import java.io.IOException;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.util.*;
import java.util.concurrent.*;

class Channels {
    static String name(Object o) {
        return o == null ? "nothing" : o.getClass().getSimpleName();
    }

    interface Attempt {
        Object run() throws Exception;
    }

    static void say(String what, Attempt attempt) {
        Object result;
        try {
            result = attempt.run();
        } catch (Exception e) {
            result = name(e);
        }
        System.out.println(what + ": " + result);
    }

    static ByteBuffer bytes(String s) {
        return ByteBuffer.wrap(s.getBytes());
    }

    static String text(ByteBuffer b) {
        b.flip();
        byte[] a = new byte[b.remaining()];
        b.get(a);
        return new String(a);
    }

    public static void main(String[] args) throws Exception {
        InetAddress own = InetAddress.getByName(args[0]);
        InetAddress peer = InetAddress.getByName(args[1]);
        InetSocketAddress echo = new InetSocketAddress(peer, Integer.parseInt(args[2]));

        // One selector, many channels: connected ones and such without a peer, to the other host.
        Selector selector = Selector.open();
        List<DatagramChannel> channels = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            DatagramChannel c = i % 2 == 0 ? DatagramChannel.open() : DatagramChannel.open(StandardProtocolFamily.INET6);
            c.configureBlocking(false);
            if (i % 4 < 2) {
                c.connect(echo);
                c.write(bytes("hello " + i));
            } else {
                c.send(bytes("hello " + i), echo);
            }
            c.register(selector, SelectionKey.OP_READ, i);
            channels.add(c);
        }
        Set<String> heard = new TreeSet<>();
        long end = System.nanoTime() + 8_000_000_000L;
        while (heard.size() < 40 && System.nanoTime() < end) {
            if (selector.select(1000) == 0) {
                for (DatagramChannel c : channels) {
                    String again = "hello " + c.keyFor(selector).attachment();
                    if (!heard.contains(again)) {
                        c.send(bytes(again), echo);
                    }
                }
            }
            for (SelectionKey key : selector.selectedKeys()) {
                ByteBuffer b = ByteBuffer.allocate(100);
                SocketAddress from = ((DatagramChannel) key.channel()).receive(b);
                if (from != null) {
                    heard.add(text(b));
                    if (!from.equals(echo)) {
                        System.out.println("from somewhere else");
                    }
                }
            }
            selector.selectedKeys().clear();
        }
        System.out.println("heard " + heard.size());
        DatagramChannel c = channels.get(0);
        say("name", () -> ((InetSocketAddress) c.getLocalAddress()).getAddress().equals(own));
        say("connect again", () -> c.connect(echo));
        say("disconnect", () -> c.disconnect().isConnected());
        say("write without peer", () -> c.write(bytes("x")));
        say("connect elsewhere", () -> c.connect(new InetSocketAddress(peer, 9)).isConnected());
        say("send elsewhere", () -> c.send(bytes("x"), echo));
        say("refused", () -> {
            c.configureBlocking(false);
            for (int i = 0; i < 50; i++) {
                c.write(bytes("x"));
                Thread.sleep(20);
                c.read(ByteBuffer.allocate(10));
            }
            return "never";
        });
        say("scatter", () -> {
            DatagramChannel d = channels.get(1);
            d.write(new ByteBuffer[] {bytes("ab"), bytes("cdef"), bytes("")});
            ByteBuffer[] parts = {ByteBuffer.allocateDirect(3), ByteBuffer.allocate(10)};
            d.keyFor(selector).cancel();
            selector.selectNow();
            d.configureBlocking(true);
            d.socket().setSoTimeout(2000);
            long n = d.read(parts);
            return n + " " + text(parts[0]) + " " + text(parts[1]);
        });
        for (SocketOption<?> option : new TreeMap<String, SocketOption<?>>() {{
            c.supportedOptions().forEach(o -> put(o.name(), o));
        }}.values()) {
            say(option.name(), () -> c.getOption(option));
        }
        say("class", () -> c.setOption(StandardSocketOptions.IP_TOS, 0x20).getOption(StandardSocketOptions.IP_TOS));
        channels.forEach(d -> {
            try {
                d.close();
            } catch (IOException e) {
                System.out.println("close: " + name(e));
            }
        });

        // Blocked readers, ended by close, by interrupt and by their timeout.
        DatagramChannel blocked = DatagramChannel.open(StandardProtocolFamily.INET6).bind(new InetSocketAddress("::", 0));
        DatagramSocket old = new DatagramSocket(0, own);
        old.setSoTimeout(200);
        ExecutorService pool = Executors.newFixedThreadPool(4);
        Future<String> closed = pool.submit(() -> {
            try {
                return "heard " + blocked.receive(ByteBuffer.allocate(10));
            } catch (Exception e) {
                return name(e);
            }
        });
        DatagramChannel second = DatagramChannel.open(StandardProtocolFamily.INET6).connect(echo);
        Future<String> interrupted = pool.submit(() -> {
            try {
                return "heard " + second.read(ByteBuffer.allocate(10));
            } catch (Exception e) {
                return name(e);
            }
        });
        say("timeout", () -> {
            old.receive(new DatagramPacket(new byte[10], 10));
            return "heard";
        });
        blocked.close();
        interrupted.cancel(true);
        Thread.sleep(200);
        say("closed", closed::get);
        say("open after interrupt", second::isOpen);
        say("echo of a socket", () -> {
            old.setSoTimeout(2000);
            for (int i = 0; i < 3; i++) {
                old.send(new DatagramPacket("old".getBytes(), 3, echo));
                DatagramPacket p = new DatagramPacket(new byte[10], 10);
                try {
                    old.receive(p);
                    return new String(p.getData(), 0, p.getLength()) + p.getSocketAddress().equals(echo);
                } catch (SocketTimeoutException e) {
                }
            }
            return "none";
        });

        // Multicast, on the interface that has the address.
        NetworkInterface there = NetworkInterface.getByInetAddress(own);
        InetAddress group = InetAddress.getByName("ff05::77");
        MulticastSocket m = new MulticastSocket(0);
        m.setSoTimeout(2000);
        m.setTimeToLive(3);
        m.joinGroup(new InetSocketAddress(group, 0), there);
        m.setNetworkInterface(there);
        say("multicast", () -> {
            m.send(new DatagramPacket("all".getBytes(), 3, group, m.getLocalPort()));
            DatagramPacket p = new DatagramPacket(new byte[10], 10);
            m.receive(p);
            return new String(p.getData(), 0, p.getLength()) + p.getAddress().equals(own);
        });
        DatagramChannel mc = DatagramChannel.open(StandardProtocolFamily.INET6)
            .setOption(StandardSocketOptions.SO_REUSEADDR, true).bind(new InetSocketAddress(0));
        MembershipKey key = mc.join(group, there, own);
        say("membership", () -> key.isValid() + " " + key.sourceAddress().equals(own));
        say("block", () -> name(mc.join(InetAddress.getByName("ff05::78"), there).block(own)));
        key.drop();
        say("dropped", key::isValid);
        pool.shutdownNow();
        say("pool ends", () -> pool.awaitTermination(5, TimeUnit.SECONDS));
    }
}
