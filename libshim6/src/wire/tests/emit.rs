//! What is never sent, and how much fits.

use super::*;

fn list(n: usize, method: u8) -> Option<LocatorList> {
    let locators = (0..n).map(|i| (method, net(i as u16))).collect();
    Some(LocatorList { generation: 1, locators, methods_offset: 0 })
}

fn validated() -> Options {
    Options { validator: Some(vec![1; 20]), ..Options::default() }
}

/// The messages that can carry a list, with these options.
fn list_messages(options: &Options) -> [Message; 4] {
    let tag = ContextTag::new(1);
    let with_validator = Options { validator: validated().validator, ..options.clone() };
    let options = options.clone();
    [
        Message::I2(I2 {
            initiator_tag: tag,
            initiator_nonce: 1,
            responder_nonce: 1,
            options: with_validator.clone(),
        }),
        Message::I2bis(I2bis {
            initiator_tag: tag,
            initiator_nonce: 1,
            responder_nonce: 1,
            packet_tag: tag,
            options: with_validator,
        }),
        Message::R2(R2 { responder_tag: tag, initiator_nonce: 1, options: options.clone() }),
        Message::UpdateRequest(UpdateRequest { receiver_tag: tag, request_nonce: 1, options }),
    ]
}

// S6-5.5-2, S6-5.6-2, S6-5.8-2, S6-5.9-2
#[test]
fn no_message_without_its_validator() {
    for message in smallest() {
        let needs = matches!(message.type_number(), 2 | 3 | 5 | 6);
        let message = match message {
            Message::R1(m) => Message::R1(R1 { options: Options::default(), ..m }),
            Message::I2(m) => Message::I2(I2 { options: Options::default(), ..m }),
            Message::R1bis(m) => Message::R1bis(R1bis { options: Options::default(), ..m }),
            Message::I2bis(m) => Message::I2bis(I2bis { options: Options::default(), ..m }),
            other => other,
        };
        assert_eq!(message.emit().err(), needs.then_some(EmitError::MissingValidator), "{message}");
    }
}

// S6-5.6-5
#[test]
fn no_list_without_its_pds() {
    let bare = Options { locators: list(2, method::HBA), ..Options::default() };
    let [i2, i2bis, r2, update] = list_messages(&bare);
    for message in [i2, i2bis, r2] {
        assert_eq!(message.emit(), Err(EmitError::MissingPds), "{message}");
    }
    assert!(update.emit().is_ok());
    for message in list_messages(&Options { pds: Some(vec![1; 50]), ..bare }) {
        assert!(message.emit().is_ok(), "{message}");
    }
}

// S6-5.6-6, S6-5.10-5, S6-5.15.4-2
#[test]
fn no_cga_locator_without_signature() {
    let mut options =
        Options { locators: list(2, method::HBA), pds: Some(vec![1; 50]), ..Options::default() };
    options.locators.as_mut().unwrap().locators[1].0 = method::CGA;
    for message in list_messages(&options) {
        assert_eq!(message.emit(), Err(EmitError::MissingSignature), "{message}");
    }
    for message in list_messages(&Options { signature: Some(vec![1; 128]), ..options }) {
        assert!(message.emit().is_ok(), "{message}");
    }
}

// S6-5.1-2: the lengths tell how many locators fit, and one more is refused.
#[test]
fn largest_messages() {
    let proof = Options { pds: Some(vec![1; 200]), signature: Some(vec![2; 128]), ..Options::default() };
    for mut message in list_messages(&proof) {
        let room = MAX_MESSAGE - message.encoded_len();
        let fits = (1..255).rev().find(|&n| LocatorList::encoded_len_for(n) <= room).unwrap();
        let options = |message: &mut Message, n| match message {
            Message::I2(m) => m.options.locators = list(n, method::CGA),
            Message::I2bis(m) => m.options.locators = list(n, method::CGA),
            Message::R2(m) => m.options.locators = list(n, method::CGA),
            Message::UpdateRequest(m) => m.options.locators = list(n, method::CGA),
            _ => unreachable!(),
        };
        options(&mut message, fits);
        let data = message.emit().unwrap();
        assert!(data.len() <= MAX_MESSAGE && data[1] <= 154, "{}", data.len());
        assert_eq!(control(&data), message);
        options(&mut message, fits + 1);
        let len = message.encoded_len();
        assert!(len > MAX_MESSAGE);
        assert_eq!(message.emit(), Err(EmitError::TooLong { len }));
        options(&mut message, 70);
        assert!(matches!(message.emit(), Err(EmitError::TooLong { .. })));
    }
}

#[test]
fn no_option_where_it_is_not_listed() {
    // LS-D-27
    for message in smallest() {
        let flow = Some(crate::addr::FlowId { protocol: 17, local_port: 1, peer_port: 2 });
        let refused = match message {
            Message::R1(m) => Message::R1(R1 { options: Options { flow, ..validated() }, ..m }),
            Message::R2(m) => Message::R2(R2 { options: Options { flow, ..Options::default() }, ..m }),
            Message::Keepalive(m) => {
                Message::Keepalive(Keepalive { options: Options { flow, ..Options::default() }, ..m })
            }
            _ => continue,
        };
        let ty = refused.type_number();
        assert_eq!(refused.emit(), Err(EmitError::OptionNotListed { message: ty, option: 16385 }));
    }
    let Message::I1(i1) = smallest().swap_remove(0) else { panic!() };
    let validator = Message::I1(I1 { options: validated(), ..i1 });
    assert_eq!(validator.emit(), Err(EmitError::OptionNotListed { message: 1, option: 1 }));
}

#[test]
fn no_malformed_list_or_preferences() {
    let pds = Some(vec![1; 50]);
    for n in [0, 256] {
        let options = Options { locators: list(n, method::HBA), pds: pds.clone(), ..Options::default() };
        for message in list_messages(&options) {
            assert_eq!(message.emit(), Err(EmitError::LocatorCount { count: n }), "{message}");
        }
    }
    let element = |priority, weight| Preference { flags: 0, priority, weight };
    let cases = [
        None,
        Some(vec![]),
        Some(vec![element(Some(1), None), element(None, None)]),
        Some(vec![element(Some(1), None), element(Some(1), Some(1))]),
        Some(vec![element(None, Some(1))]),
        Some(vec![element(None, None); 256]),
    ];
    for elements in cases {
        let preferences = Some(LocatorPreferences { generation: 1, elements, offset: 0 });
        for message in list_messages(&Options { preferences, ..Options::default() }) {
            assert_eq!(message.emit(), Err(EmitError::Preferences), "{message}");
        }
    }
}

// S6-5.15.3-9: unknown flags are not sent either.
#[test]
fn unknown_flags_are_not_sent() {
    let elements = Some(vec![Preference { flags: 0xff, priority: None, weight: None }]);
    let preferences = Some(LocatorPreferences { generation: 1, elements, offset: 0 });
    let [.., update] = list_messages(&Options { preferences, ..Options::default() });
    assert_eq!(update.emit().unwrap()[16..26], [0, 6, 0, 6, 0, 0, 0, 1, 1, 3]);
}

// RE-PR-26
#[test]
fn probe_blocks() {
    let block = ProbeBlock { source: net(1), destination: net(2), nonce: 3, data: 4 };
    let probe = |sent, received| {
        Message::Probe(Probe {
            receiver_tag: ContextTag::new(1),
            state: ReapState::InboundOk,
            sent: vec![block; sent],
            received: vec![block; received],
            options: Options::default(),
        })
    };
    for (sent, received) in [(0, 0), (0, 1), (16, 0), (1, 16), (300, 300)] {
        assert_eq!(probe(sent, received).emit(), Err(EmitError::ProbeBlocks { sent, received }));
    }
    for (blocks, octets, hdr_ext_len) in
        [(1, 56, 6), (2, 96, 11), (3, 136, 16), (5, 216, 26), (10, 416, 51), (16, 656, 81), (30, 1216, 151)]
    {
        let sent = blocks.min(15);
        let data = probe(sent, blocks - sent).emit().unwrap();
        assert_eq!((data.len(), data[1]), (octets, hdr_ext_len));
        assert_eq!(data[12], ((blocks - sent) << 4 | sent) as u8);
    }
}

// RE-PR-20
#[test]
fn probe_blocks_behind_other_headers() {
    assert_eq!(Probe::max_blocks(0), 30);
    for before in (0..1300).step_by(8) {
        let formula = ((1224 - before as i32).max(0) / 40).min(30);
        assert_eq!(Probe::max_blocks(before), formula as usize, "{before}");
    }
}

#[test]
fn no_malformed_error() {
    let error = |code, packet| Message::Error(ErrorMessage { code, pointer: 0, packet }).emit();
    assert_eq!(error(128, vec![0; 8]), Err(EmitError::ErrorMessage));
    assert_eq!(error(0, vec![]), Err(EmitError::ErrorMessage));
    assert_eq!(error(0, vec![0; 1233]), Err(EmitError::TooLong { len: 1248 }));
    assert_eq!(error(127, vec![0; 1232]).unwrap()[3], 0xfe);
    assert_eq!(error(1, vec![1; 9]).unwrap()[17..], [0; 7]);
}

// For tests that play a hostile peer: whatever the message holds, octets with a right checksum come out.
#[test]
fn unchecked_never_panics() {
    let block = ProbeBlock { source: net(1), destination: net(2), nonce: 3, data: 4 };
    let hostile = [
        Message::Probe(Probe {
            receiver_tag: ContextTag::new(1),
            state: ReapState::Operational,
            sent: vec![block; 99],
            received: vec![block; 99],
            options: Options::default(),
        }),
        Message::R1(R1 {
            initiator_nonce: 1,
            responder_nonce: 2,
            options: Options {
                validator: Some(vec![1; 70000]),
                locators: list(300, 9),
                ..Options::default()
            },
        }),
        Message::Error(ErrorMessage { code: 255, pointer: 1, packet: vec![1; 70000] }),
    ];
    for message in hostile {
        let data = message.emit_unchecked();
        assert!(data.len() <= 2048 && data.len() == (usize::from(data[1]) + 1) * 8);
        assert_eq!(checksum(&data).to_be_bytes(), data[4..6]);
        let _ = parse(&data);
    }
}
