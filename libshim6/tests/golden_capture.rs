//! Golden packets: laid out by hand from the RFCs, made by our encoder, read by our decoder and by tshark.

mod golden;
