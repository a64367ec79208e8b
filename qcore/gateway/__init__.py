"""The JSON gateway of etcd's v3 API in front of a cluster that runs the machine `kv`.

`docs/reference/gateway.md` says what of etcd it offers.
"""
