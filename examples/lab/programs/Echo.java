// UDP echo with DatagramSocket and DatagramChannel.
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.DatagramChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;

public class Echo {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[1]);
        byte[] buffer = new byte[2000];
        if (args[0].equals("server")) {
            try (DatagramSocket socket = new DatagramSocket(port)) {
                while (true) {
                    DatagramPacket packet = new DatagramPacket(buffer, buffer.length);
                    socket.receive(packet);
                    socket.send(packet);
                }
            }
        }
        InetSocketAddress to = new InetSocketAddress(InetAddress.getByName(args[2]), port);
        if (args[0].equals("client")) {
            try (DatagramSocket socket = new DatagramSocket()) {
                socket.setSoTimeout(5000);
                for (int i = 1; i <= 20; i++) {
                    if (i == 11) {
                        socket.connect(to);
                        System.out.println("connected " + socket.getPort());
                    }
                    byte[] data = ("datagram " + i).getBytes();
                    socket.send(i > 10 ? new DatagramPacket(data, data.length) : new DatagramPacket(data, data.length, to));
                    DatagramPacket answer = new DatagramPacket(buffer, buffer.length);
                    socket.receive(answer);
                    System.out.println(new String(buffer, 0, answer.getLength()) + " " + answer.getSocketAddress().equals(to));
                }
            }
            return;
        }
        try (DatagramChannel channel = DatagramChannel.open(); Selector selector = Selector.open()) {
            channel.configureBlocking(false);
            channel.connect(to);
            channel.register(selector, SelectionKey.OP_READ);
            for (int i = 1; i <= 10; i++) {
                channel.write(ByteBuffer.wrap(("channel " + i).getBytes()));
                System.out.println("selected " + selector.select(5000));
                selector.selectedKeys().clear();
                ByteBuffer answer = ByteBuffer.allocate(2000);
                System.out.println("read " + channel.read(answer));
            }
            channel.disconnect();
            System.out.println("disconnected " + (channel.getRemoteAddress() == null));
        }
    }
}
