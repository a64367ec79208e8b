"""Tests of etcd's JSON gateway."""
