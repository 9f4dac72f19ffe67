//! rumqttc in 3.1.1.

crate::rumqttc_parts::rumqttc_parts!(rumqttc, rumqttc::QoS, rumqttc::LastWill, will, |options| {
    options.set_clean_session(false);
});

fn will(topic: &str, payload: &str) -> LastWill {
    LastWill::new(topic, payload, QoS::AtLeastOnce, false)
}
