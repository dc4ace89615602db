//! Options: the rules of RFC 5533 section 5.15, each by hand.

use super::*;

fn i1_with(options: &[u8]) -> Result<Options, ParseError> {
    options_of(&smallest()[0], options)
}

/// An Update Request takes most options.
fn update_with(options: &[u8]) -> Result<Options, ParseError> {
    options_of(&smallest()[6], options)
}

fn options_of(message: &Message, options: &[u8]) -> Result<Options, ParseError> {
    match parse(&with_options(&message.emit().unwrap(), options))? {
        Packet::Control(message) => Ok(message.options().unwrap().clone()),
        payload => panic!("{payload:?}"),
    }
}

const BAD: ParseError = drop(DropReason::BadOption);

// S6-5.15-1
#[test]
fn padding() {
    // LS-OP-01
    let totals = [0, 1, 4, 5, 12, 36].map(option_len);
    assert_eq!(totals, [8, 8, 8, 16, 16, 40]);
    for length in 0..100 {
        assert_eq!(option_len(length), 11 + length - (length + 3) % 8);
    }
}

// S6-5.15.2-1
#[test]
fn locator_list_lengths() {
    for n in 1..=255 {
        let length = 5 + n + (15 - n % 8) % 8 + 16 * n;
        assert_eq!(LocatorList::encoded_len_for(n), 4 + length, "{n}");
        let list = LocatorList { generation: 1, locators: vec![(1, net(1)); n], methods_offset: 0 };
        let options = Options { locators: Some(list), ..Options::default() };
        assert_eq!(options.encoded_len(), 4 + length, "{n}");
    }
}

// S6-5.15-5, S6-5.15-7, S6-5.15-9, S6-12.3-6, S6-N-4, RE-KA-06
#[test]
fn unknown_options_go_by_their_c_bit() {
    for message in smallest() {
        if message.options().is_none() {
            continue;
        }
        let data = message.emit().unwrap();
        let offset = data.len();
        assert_eq!(control(&with_options(&data, &tlv(9, false, b"skipped"))), message);
        let critical = ParseError::CriticalOption { ty: 9, offset, message: message.type_number() };
        assert_eq!(parse(&with_options(&data, &tlv(9, true, b"refused"))), Err(critical));
        // Behind another that is skipped.
        let both = [tlv(8, false, &[0; 5]), tlv(9, true, &[])].concat();
        let critical =
            ParseError::CriticalOption { ty: 9, offset: offset + 16, message: message.type_number() };
        assert_eq!(parse(&with_options(&data, &both)), Err(critical));
    }
}

// S6-5.15-7, S6-5.15-9, S6-N-4: known, but not for this message. Types 1 to 7 and 10 against the matrix of section 5.
#[test]
fn options_not_listed_for_the_message() {
    let listed: [(u8, &[u16]); 10] = [
        (1, &[6, 7]),
        (2, &[1]),
        (3, &[1, 2, 3, 4, 5, 6, 7, 10]),
        (4, &[2, 3, 4, 5, 10]),
        (5, &[1]),
        (6, &[1, 2, 3, 4, 5, 6, 7, 10]),
        (64, &[2, 3, 4, 5, 10]),
        (65, &[]),
        (66, &[]),
        (67, &[]),
    ];
    // Contents that are right for each type, so that a listed one is accepted.
    let mut list = vec![0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0];
    list.extend(net(1).octets());
    let contents: [(u16, &[u8]); 8] = [
        (1, b"validator"),
        (2, &list),
        (3, &[0, 0, 0, 1, 1, 0]),
        (4, b"pds"),
        (5, b"signature"),
        (6, &[0; 36]),
        (7, &[0, 0, 0, 1]),
        (10, &[0, 0, 0, 15]),
    ];
    for (message, (ty, listed)) in smallest().iter().zip(listed) {
        assert_eq!(message.type_number(), ty);
        let data = message.emit().unwrap();
        for (option, contents) in contents {
            // The smallest message has its validator already.
            let data = if option == 1 && message.options().unwrap().validator.is_some() {
                data[..fixed_len(ty).unwrap()].to_vec()
            } else {
                data.clone()
            };
            let [skippable, critical] = [false, true].map(|c| with_options(&data, &tlv(option, c, contents)));
            if listed.contains(&option) {
                // S6-N-5: with either C bit.
                assert_ne!(control(&skippable), *message, "{option} in {ty}");
                assert_eq!(control(&critical), control(&skippable));
            } else {
                assert_eq!(control(&skippable), *message, "{option} in {ty}");
                let refused = ParseError::CriticalOption { ty: option, offset: data.len(), message: ty };
                assert_eq!(parse(&critical), Err(refused), "{option} in {ty}");
            }
        }
    }
}

// S6-5.15-3
#[test]
fn padding_is_not_looked_at() {
    // LS-OP-03
    let mut option = tlv(7, false, &[0, 0, 0, 5]);
    assert_eq!(i1_with(&option).unwrap().fii, Some(5));
    option = tlv(1, false, b"x");
    option[5..].fill(0xaa);
    let r1 = &smallest()[1].emit().unwrap()[..16];
    let Message::R1(r1) = control(&with_options(r1, &option)) else { panic!() };
    assert_eq!(r1.options.validator.as_deref(), Some(&b"x"[..]));
}

// S6-5.15-10, S6-N-34
#[test]
fn overrun() {
    for length in [5_u16, 8, 100, 0xffff] {
        let mut option = tlv(7, false, &[0, 0, 0, 1]);
        option[2..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(i1_with(&option), Err(BAD), "{length}");
        // Malformed wins over critical: nothing is answered.
        let critical = [tlv(9, true, &[]), option].concat();
        assert_eq!(i1_with(&critical), Err(BAD), "{length}");
    }
}

// S6-N-34
#[test]
fn duplicates() {
    let fii = tlv(7, false, &[0, 0, 0, 1]);
    assert_eq!(i1_with(&[fii.clone(), fii.clone()].concat()), Err(BAD));
    // Also of what counts as absent.
    let zero = tlv(7, false, &[0; 4]);
    assert_eq!(i1_with(&[zero, fii].concat()), Err(BAD));
    // What is skipped may come as often as it likes.
    let unknown = tlv(9, false, &[1]);
    assert_eq!(i1_with(&[unknown.clone(), unknown].concat()), Ok(Options::default()));
}

// S6-N-34
#[test]
fn fixed_lengths() {
    for length in (0..60).filter(|&l| l != 36) {
        assert_eq!(i1_with(&tlv(6, false, &vec![0; length])), Err(BAD), "{length}");
    }
    for length in (0..20).filter(|&l| l != 4) {
        assert_eq!(i1_with(&tlv(7, false, &vec![1; length])), Err(BAD), "{length}");
    }
}

// S6-5.15.2-2
#[test]
fn locator_list_length() {
    let mut contents = vec![0, 0, 0, 9, 2, 1, 77, 0, 0, 0, 0, 0];
    contents.extend(net(1).octets());
    contents.extend(net(2).octets());
    let list = update_with(&tlv(2, false, &contents)).unwrap().locators.unwrap();
    assert_eq!((list.generation, &list.locators[..]), (9, &[(1, net(1)), (77, net(2))][..]));
    assert_eq!(list.methods_offset, 16 + 9);
    for length in 0..contents.len() {
        assert_eq!(update_with(&tlv(2, false, &contents[..length])), Err(BAD), "{length}");
    }
    for more in 1..20 {
        let longer = [&contents[..], &vec![0; more]].concat();
        assert_eq!(update_with(&tlv(2, false, &longer)), Err(BAD), "{more}");
    }
    for n in [0, 1, 3, 255] {
        contents[4] = n;
        assert_eq!(update_with(&tlv(2, false, &contents)), Err(BAD), "{n}");
    }
    assert_eq!(update_with(&tlv(2, false, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0])), Err(BAD));
    // The inner padding is not looked at.
    let mut padded = vec![0, 0, 0, 9, 1, 1, 9, 9, 9, 9, 9, 9];
    padded.extend(net(1).octets());
    assert_eq!(update_with(&tlv(2, false, &padded)).unwrap().locators.unwrap().locators, [(1, net(1))]);
}

fn preferences(contents: &[u8]) -> Option<Vec<Preference>> {
    update_with(&tlv(3, false, contents)).unwrap().preferences.unwrap().elements
}

// S6-5.15.3-4, S6-5.15.3-7, S6-5.15.3-9, S6-N-30
#[test]
fn preference_elements() {
    // LS-OP-06
    let element = |flags, priority, weight| Preference { flags, priority, weight };
    assert_eq!(
        preferences(&[0, 0, 0, 1, 1, 0, 1]).unwrap(),
        [element(0, None, None), element(1, None, None)]
    );
    assert_eq!(preferences(&[0, 0, 0, 1, 2, 2, 9]).unwrap(), [element(2, Some(9), None)]);
    assert_eq!(preferences(&[0, 0, 0, 1, 3, 3, 9, 8]).unwrap(), [element(3, Some(9), Some(8))]);
    let five = [0, 0, 0, 1, 5, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10];
    assert_eq!(preferences(&five).unwrap(), [element(1, Some(2), Some(3)), element(0, Some(7), Some(8))]);
    assert_eq!(preferences(&[0, 0, 0, 1, 1, 0xfc]).unwrap(), [element(0, None, None)]);
    // A wrong count: the engine answers, so that the rest of the message counts.
    assert_eq!(preferences(&[0, 0, 0, 1, 0, 1, 2]), None);
    assert_eq!(preferences(&[0, 0, 0, 1, 2, 1, 2, 3]), None);
    assert_eq!(preferences(&[0, 0, 0, 1, 3]), Some(vec![]));
    // Not even an Element Len.
    for length in 0..5 {
        assert_eq!(update_with(&tlv(3, false, &vec![0; length])), Err(BAD), "{length}");
    }
}

// S6-N-8
#[test]
fn fii_zero_is_absence() {
    assert_eq!(i1_with(&tlv(7, false, &[0; 4])), Ok(Options::default()));
    let explicit = Options { fii: Some(0), ..Options::default() };
    assert_eq!(explicit.encoded_len(), 0);
    let Message::I1(i1) = smallest().swap_remove(0) else { panic!() };
    let absent = Message::I1(i1.clone()).emit();
    assert_eq!(Message::I1(I1 { options: explicit, ..i1 }).emit(), absent);
}

// RE-KT-12, RE-KT-02
#[test]
fn keepalive_timeout() {
    let timeout =
        |contents: &[u8], critical| update_with(&tlv(10, critical, contents)).unwrap().keepalive_timeout;
    assert_eq!(timeout(&[0, 0, 1, 0x2c], false), Some(300));
    assert_eq!(timeout(&[0xff, 0xff, 0, 15], true), Some(15));
    let list = tlv(5, false, b"signature");
    for length in (0..20).filter(|&l| l != 4) {
        assert_eq!(timeout(&vec![9; length], false), None, "{length}");
        assert_eq!(timeout(&vec![9; length], true), None, "{length}");
        let options = [tlv(10, false, &vec![9; length]), list.clone()].concat();
        assert_eq!(update_with(&options).unwrap().signature.as_deref(), Some(&b"signature"[..]), "{length}");
    }
}

// RE-KT-01 in milliseconds: our own option, which others skip by its C bit.
#[test]
fn precise_timeout_of_another_length_is_not_ours() {
    let precise = |contents: &[u8]| update_with(&tlv(16386, false, contents)).unwrap().precise_timeout;
    assert_eq!(precise(&[0, 0, 0, 30]), Some(30));
    assert_eq!(precise(&[0; 4]), Some(0));
    for length in (0..12).filter(|&l| l != 4) {
        assert_eq!(precise(&vec![9; length]), None, "{length}");
    }
    let critical = update_with(&tlv(16386, true, &[1; 5]));
    assert!(matches!(critical, Err(ParseError::CriticalOption { ty: 16386, .. })));
}

// The number is unassigned; of another length it is not our option.
#[test]
fn capabilities_are_one_octet_of_flags() {
    // LS-S-01, LS-S-09: C = 0, and another length is somebody else's option
    use crate::wire::capability::{ALWAYS, EQUIVALENT, TRANSPORT};
    let options = |flags| Options { capabilities: flags, ..Options::default() };
    let r2 = |options| {
        let tag = ContextTag::new(1);
        Message::R2(R2 { responder_tag: tag, initiator_nonce: 2, options })
    };
    let data = r2(options(Some(ALWAYS | TRANSPORT))).emit().unwrap();
    assert_eq!(data[16..], [0x80, 0x00, 0, 1, 0xa0, 0, 0, 0]);
    assert_eq!(ALWAYS | EQUIVALENT | TRANSPORT, 0xe0);
    assert_eq!(parse(&data), Ok(Packet::Control(r2(options(Some(0xa0))))));
    let flags = |contents: &[u8], c| update_with(&tlv(16384, c, contents)).map(|o| o.capabilities);
    assert_eq!(flags(&[0xff], false), Ok(Some(0xff)));
    assert_eq!((flags(&[], false), flags(&[1, 2], false)), (Ok(None), Ok(None)));
    assert!(flags(&[1, 2], true).is_err());
}

#[test]
fn flow_of_another_length_is_not_ours() {
    let flow = [17, 9, 9, 9, 0x12, 0x34, 0x56, 0x78];
    let ours = i1_with(&tlv(16385, false, &flow)).unwrap().flow.unwrap();
    assert_eq!((ours.protocol, ours.local_port, ours.peer_port), (17, 0x1234, 0x5678));
    assert_eq!(i1_with(&tlv(16385, false, &flow[..7])), Ok(Options::default()));
    let critical = ParseError::CriticalOption { ty: 16385, offset: 16, message: 1 };
    assert_eq!(i1_with(&tlv(16385, true, &flow[..7])), Err(critical));
}

// S6-5.5-3, S6-N-35, S6-5.15.1-3
#[test]
fn validator_is_required_and_opaque() {
    for index in [1, 2, 4, 5] {
        let message = &smallest()[index];
        let data = message.emit().unwrap();
        let fixed = &data[..fixed_len(message.type_number()).unwrap()];
        assert_eq!(parse(&with_options(fixed, &[])), Err(drop(DropReason::MissingOption)));
        for length in [0, 1, 7, 20, 64] {
            let validator: Vec<u8> = (0..length).collect();
            let message = control(&with_options(fixed, &tlv(1, false, &validator)));
            assert_eq!(message.options().unwrap().validator.as_ref(), Some(&validator));
        }
    }
}

// HC-PDS-12, S6-5.15.4-1
#[test]
fn parameters_stand_as_they_are_in_an_option() {
    for len in [103, 104, 105, 106, 107, 108, 109, 110, 187, 611] {
        let pds: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
        let options = Options { pds: Some(pds.clone()), ..Options::default() };
        let update =
            UpdateRequest { receiver_tag: ContextTag::new(1), request_nonce: 2, options: options.clone() };
        let data = Message::UpdateRequest(update).emit().unwrap();
        let option = &data[16..];
        // Type 4 and C = 0; the length of the structure alone; zeros up to a multiple of 8
        assert_eq!(option[..4], [0, 8, (len >> 8) as u8, len as u8]);
        assert_eq!(option[4..4 + len], pds);
        assert_eq!(option.len(), (4 + len).next_multiple_of(8));
        assert!(option[4 + len..].iter().all(|b| *b == 0));
        // Padding is no part of it, whatever stands there; C is not looked at for a known option
        for (critical, padding) in [(false, 0), (true, 0), (false, 0xff)] {
            let mut option = tlv(4, critical, &pds);
            option[4 + len..].fill(padding);
            assert_eq!(update_with(&option).unwrap(), options);
        }
    }
}
