//! What a proxy on another machine may say of its clients; the rest is tried over the wire.

use super::*;
use crate::config::Listener;

fn facts(proxy: &str, header: &[u8]) -> Facts {
    let proxy: SocketAddr = proxy.parse().unwrap();
    let listener =
        Listener { proxy_from: vec![proxy.ip().to_string().parse().unwrap()], ..Listener::default() };
    let wiring = Arc::new(Wiring::new(&listener, None, false));
    let mut layers = Layers::new(&wiring, proxy.into()).unwrap();
    let (mut plain, mut sealed) = (Vec::new(), BytesMut::new());
    let opened = layers.open(&mut header.to_vec(), &mut plain, &mut sealed);
    assert_eq!(opened.consumed, header.len());
    layers.into_facts()
}

#[test]
fn another_machine_s_loopback_is_not_this_one_s() {
    for from in ["127.0.0.1", "127.9.9.9"] {
        let header = format!("PROXY TCP4 {from} 10.0.0.1 1 1883\r\n");
        assert_eq!(facts("10.0.0.5:1", header.as_bytes()).source, None, "{from}");
        // Of a proxy that is here it is.
        for here in ["127.0.0.2:1", "[::1]:1", "[::ffff:127.0.0.2]:1"] {
            let source = facts(here, header.as_bytes()).source;
            assert_eq!(source.map(|source| source.ip().to_string()).as_deref(), Some(from), "{here}");
        }
    }
    for from in ["::1", "::ffff:127.0.0.1"] {
        let header = format!("PROXY TCP6 {from} fd00::1 1 1883\r\n");
        assert_eq!(facts("10.0.0.5:1", header.as_bytes()).source, None, "{from}");
    }
    assert!(facts("10.0.0.5:1", b"PROXY TCP4 10.9.9.9 10.0.0.1 1 1883\r\n").source.is_some());
}
