//! MQTT 3.1, 3.1.1 and 5.0 without IO: bytes to broker inputs and back, for both ends of a connection.
