use super::*;
use crate::{Error, Feedback, Misuse, SendWith};

fn pair() -> (ShimSocket, ShimSocket) {
    let server = ShimSocket::bind("[::1]:0").unwrap();
    let client = ShimSocket::connected(server.local_addr().unwrap()).unwrap();
    (server, client)
}

#[test]
fn threads_may_share_it() {
    fn shared<T: Send + Sync>() {}
    shared::<ShimSocket>();
}

#[test]
fn datagrams_go_both_ways() {
    let (server, client) = pair();
    let mut buffer = [0; 16];
    assert_eq!(client.send(b"there").unwrap(), 5);
    let (n, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..n], from), (&b"there"[..], client.local_addr().unwrap()));
    assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
    assert_eq!(server.send_to(b"and back", from).unwrap(), 8);
    let got = client.recv_with(&mut buffer[..3]).unwrap();
    assert_eq!((got.len, got.truncated, got.from), (3, true, server.local_addr().unwrap()));
    assert_eq!((got.local, got.peer), (None, None));
    let second = client.try_clone().unwrap();
    drop(client);
    assert_eq!(second.send(b"again").unwrap(), 5);
    assert_eq!(server.recv(&mut buffer).unwrap(), 5);
}

#[test]
fn waiting_can_be_bounded() {
    let (server, _client) = pair();
    assert_eq!(server.read_timeout().unwrap(), None);
    server.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(server.read_timeout().unwrap().is_some_and(|t| t >= Duration::from_millis(20)));
    assert_eq!(server.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(server.set_read_timeout(Some(Duration::ZERO)).is_err());
    server.set_read_timeout(None).unwrap();
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    server.set_nonblocking(false).unwrap();
    server.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    assert_eq!(server.write_timeout().unwrap(), Some(Duration::from_secs(3)));
}

// API-ASSOC-01, API-ASSOC-03, API-DONT-01, API-DONT-08, API-LLL-01, API-LLL-03
#[test]
fn options_without_a_context() {
    let (server, client) = pair();
    for socket in [&server, &client] {
        assert!(!socket.is_associated().unwrap() && !socket.dont_shim().unwrap());
        socket.set_dont_shim(true).unwrap();
        assert!(socket.dont_shim().unwrap());
        socket.set_dont_shim(false).unwrap();
    }
    assert!(matches!(server.local_locators(), Err(Error::Misuse(Misuse::NotConnected))));
    assert!(matches!(client.local_locators(), Err(Error::NoContext)));
    // Also where the draft's level is asked, which knows one error for both
    assert!(matches!(server.current_locators(), Err(Error::Misuse(Misuse::NotConnected))));
    assert!(matches!(client.current_locators(), Err(Error::NoContext)));
    assert!(matches!(server.feedback(Feedback::Unable), Err(Error::Misuse(Misuse::NotConnected))));
    assert!(matches!(client.feedback(Feedback::Unable), Err(Error::NoContext)));
    let with = SendWith { local: Some("2001:db8::1".parse().unwrap()), ..SendWith::default() };
    assert!(matches!(server.send_with(b"x", &with), Err(Error::Misuse(Misuse::NotConnected))));
    assert!(matches!(client.send_with(b"x", &with), Err(Error::NoContext)));
    assert!(matches!(client.set_app_timeout(Some(Duration::ZERO)), Err(Error::Misuse(Misuse::BadValue))));
}

#[test]
fn it_comes_from_an_ordinary_socket_and_goes_back() {
    let plain = UdpSocket::bind("[::1]:0").unwrap();
    plain.connect(plain.local_addr().unwrap()).unwrap();
    let name = plain.local_addr().unwrap();
    let shim = ShimSocket::from(plain);
    assert_eq!((shim.local_addr().unwrap(), shim.peer_addr().unwrap()), (name, name));
    assert_eq!(shim.send(b"x").unwrap(), 1);
    let plain = UdpSocket::from(shim);
    assert_eq!(plain.recv(&mut [0; 4]).unwrap(), 1);
    let four = ShimSocket::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    assert!(!four.is_associated().unwrap());
}

#[test]
fn ipv4_is_refused() {
    assert_eq!(ShimSocket::bind("127.0.0.1:0").unwrap_err().kind(), io::ErrorKind::Unsupported);
}
