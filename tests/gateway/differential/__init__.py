"""The same requests go to a real etcd and to qcore's gateway, and the answers are compared field by field.

`corpus/` holds the recorded sequences of requests, and `corpus/etcd_answers.json` what etcd answered. The short tests
replay them against the gateway. The long ones start etcd, and send it random sequences, too.
"""
