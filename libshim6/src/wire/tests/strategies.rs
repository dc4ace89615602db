//! Arbitrary messages that may be sent.

use super::*;
use crate::addr::FlowId;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn tag() -> impl Strategy<Value = ContextTag> {
    any::<u64>().prop_map(ContextTag::new)
}

fn address() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from)
}

fn block() -> impl Strategy<Value = ProbeBlock> {
    (address(), address(), any::<u32>(), any::<u32>())
        .prop_map(|(source, destination, nonce, data)| ProbeBlock { source, destination, nonce, data })
}

fn locators() -> impl Strategy<Value = LocatorList> {
    (any::<u32>(), vec((any::<u8>(), address()), 1..20)).prop_map(|(generation, locators)| LocatorList {
        generation,
        locators,
        methods_offset: 0,
    })
}

fn preferences() -> impl Strategy<Value = LocatorPreferences> {
    (any::<u32>(), 1..=3_u8, vec((0..4_u8, any::<u8>(), any::<u8>()), 1..20)).prop_map(
        |(generation, len, elements)| {
            let element = |(flags, priority, weight)| Preference {
                flags,
                priority: (len > 1).then_some(priority),
                weight: (len > 2).then_some(weight),
            };
            let elements = Some(elements.into_iter().map(element).collect());
            LocatorPreferences { generation, elements, offset: 0 }
        },
    )
}

fn flow() -> impl Strategy<Value = FlowId> {
    any::<(u8, u16, u16)>().prop_map(|(protocol, local_port, peer_port)| FlowId {
        protocol,
        local_port,
        peer_port,
    })
}

fn pair() -> impl Strategy<Value = UlidPairOption> {
    (address(), address()).prop_map(|(sender, receiver)| UlidPairOption { sender, receiver })
}

/// PDS and signature are there with every list, so that it may be sent in each message.
fn list_options() -> impl Strategy<Value = Options> {
    let proof = (vec(any::<u8>(), 0..100), vec(any::<u8>(), 0..100));
    let timeouts = (of(any::<u16>()), of(any::<u32>()));
    (of((locators(), proof)), of(preferences()), timeouts).prop_map(|(list, preferences, timeouts)| {
        let (locators, proof) = list.unzip();
        let (pds, signature) = proof.unzip();
        let (keepalive_timeout, precise_timeout) = timeouts;
        let of_list = Options { locators, preferences, pds, signature, ..Options::default() };
        Options { keepalive_timeout, precise_timeout, ..of_list }
    })
}

fn i1_options() -> impl Strategy<Value = Options> {
    (of(pair()), of(1..=u32::MAX), of(flow())).prop_map(|(ulid_pair, fii, flow)| Options {
        ulid_pair,
        fii,
        flow,
        ..Options::default()
    })
}

fn validator() -> impl Strategy<Value = Options> {
    vec(any::<u8>(), 0..70).prop_map(|validator| Options { validator: Some(validator), ..Options::default() })
}

fn i2_options() -> impl Strategy<Value = Options> {
    (list_options(), i1_options(), validator()).prop_map(|(list, i1, r1)| Options {
        validator: r1.validator,
        ulid_pair: i1.ulid_pair,
        fii: i1.fii,
        flow: i1.flow,
        ..list
    })
}

fn probe() -> impl Strategy<Value = Message> {
    let state = (0..3_u8).prop_map(|sta| ReapState::from_value(sta).unwrap());
    (tag(), state, vec(block(), 1..=15), vec(block(), 0..=15)).prop_map(
        |(receiver_tag, state, sent, received)| {
            Message::Probe(Probe { receiver_tag, state, sent, received, options: Options::default() })
        },
    )
}

pub fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (tag(), any::<u32>(), i1_options()).prop_map(|(initiator_tag, initiator_nonce, options)| {
            Message::I1(I1 { initiator_tag, initiator_nonce, options })
        }),
        (any::<u32>(), any::<u32>(), validator()).prop_map(|(initiator_nonce, responder_nonce, options)| {
            Message::R1(R1 { initiator_nonce, responder_nonce, options })
        }),
        (tag(), any::<u32>(), any::<u32>(), i2_options()).prop_map(
            |(initiator_tag, initiator_nonce, responder_nonce, options)| {
                Message::I2(I2 { initiator_tag, initiator_nonce, responder_nonce, options })
            }
        ),
        (tag(), any::<u32>(), list_options(), of(any::<u8>())).prop_map(
            |(responder_tag, initiator_nonce, list, flags)| {
                let options = Options { capabilities: flags, ..list };
                Message::R2(R2 { responder_tag, initiator_nonce, options })
            }
        ),
        (tag(), any::<u32>(), validator()).prop_map(|(packet_tag, responder_nonce, options)| {
            Message::R1bis(R1bis { packet_tag, responder_nonce, options })
        }),
        (tag(), any::<u32>(), any::<u32>(), tag(), i2_options()).prop_map(
            |(initiator_tag, initiator_nonce, responder_nonce, packet_tag, options)| {
                Message::I2bis(I2bis { initiator_tag, initiator_nonce, responder_nonce, packet_tag, options })
            }
        ),
        (tag(), any::<u32>(), list_options()).prop_map(|(receiver_tag, request_nonce, options)| {
            Message::UpdateRequest(UpdateRequest { receiver_tag, request_nonce, options })
        }),
        (tag(), any::<u32>()).prop_map(|(receiver_tag, request_nonce)| {
            Message::UpdateAck(UpdateAck { receiver_tag, request_nonce, options: Options::default() })
        }),
        tag().prop_map(|receiver_tag| Message::Keepalive(Keepalive {
            receiver_tag,
            options: Options::default()
        })),
        probe(),
        (0..128_u8, any::<u16>(), vec(any::<u8>(), 1..1233)).prop_map(|(code, pointer, mut packet)| {
            packet.resize(packet.len().next_multiple_of(8), 0);
            Message::Error(ErrorMessage { code, pointer, packet })
        }),
    ]
}
