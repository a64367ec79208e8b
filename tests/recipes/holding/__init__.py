"""Tests of locks, semaphores and elections."""
