#!/usr/bin/with-contenv bashio
# Users of the add-on's options become users of the broker; a noctule.toml in the add-on's configuration folder is used as it is.
set -eu

config=/config/noctule.toml
if [ ! -e "$config" ]; then
    users=/data/users
    : > "$users.new"
    chmod 0600 "$users.new"
    for index in $(bashio::config 'users|keys'); do
        name=$(bashio::config "users[${index}].name")
        bashio::config "users[${index}].password" | noctule passwd "$users.new" "$name" --password-stdin
    done
    mv "$users.new" "$users"
    config=/data/noctule.toml
    cat > "$config" <<TOML
[server]
data_dir = "/data/store"
[auth]
chain = ["password"]
password_file = "$users"
[[acl]]
allow = ["publish", "subscribe", "retain", "manage"]
users = ["*"]
topics = ["#", "\$queue/#"]
[[listener]]
protocol = "mqtt"
address = "0.0.0.0:1883"
[[listener]]
protocol = "mqtt"
address = "0.0.0.0:9001"
websocket = "/"
[[listener]]
protocol = "stomp"
address = "0.0.0.0:61613"
TOML
fi
exec noctule run -c "$config" --log-format human
