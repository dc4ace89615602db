use super::super::*;
use crate::addr::ContextTag;

// RE-KA-01
#[test]
fn keepalive_golden() {
    let message = Message::Keepalive(Keepalive {
        receiver_tag: ContextTag::new(0x1234_5678_9abc),
        options: Options::default(),
    });
    let golden = [0x3b, 1, 0x42, 0, 0x7f, 0x95, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0, 0, 0, 0];
    assert_eq!(message.emit().unwrap(), golden);
    assert_eq!(parse(&golden), Ok(Packet::Control(message)));
}
